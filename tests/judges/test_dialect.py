"""Servers that refuse a parameter, and what is sent to them instead; replies that are cut; what keeps replies apart."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from mmpref.errors import ModelError
from mmpref.judges.annotator import ChatAnnotator, Comparison
from mmpref.judges.chat import ChatSettings, Query
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.final_replies import FinalReplies
from mmpref.judges.reply_cache import CachedChat
from mmpref.judges.resolve import open_chat
from mmpref.judges.rewriter import ChatRewriter, Rewriting
from mmpref.types import ImageData, Message
from tests.judges.server import ChatServer, fault, finished

QUICK = ChatSettings(retries=0)
REFUSED = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
    "instead.",
    "temperature": "Unsupported value: 'temperature' does not support 0 with this model.",
}


def asking(text: str) -> Query:
    return Query((Message("user", text),))


def newer(body: dict[str, Any], _: int) -> str | Response:
    """As OpenAI's reasoning models answer."""
    if "max_tokens" in body:
        return fault(400, REFUSED["max_tokens"])
    return fault(400, REFUSED["temperature"]) if "temperature" in body else "ok"


def test_a_server_that_refuses_max_tokens_and_temperature_is_asked_as_it_wants(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ChatServer(newer) as server:
        endpoint = Endpoint(server.url, "m", ChatSettings(retries=0, concurrency=1))
        assert [reply.text for reply in endpoint.ask([asking(str(n)) for n in range(3)])] == ["ok"] * 3
        assert len(server.requests) == 3 + 2, "each refusal once, and then it is known"
        assert server.requests[-1]["max_completion_tokens"] == 1024
        assert endpoint.identity["temperature"] is None, "what was not sent does not count as sent"
        later = Endpoint(server.url, "m", QUICK)
        assert later.ask([asking("later")])[0].text == "ok"
        assert len(server.requests) == 6, "another session knows it too"
        assert Endpoint(server.url, "other", QUICK).identity["temperature"] == 0, "of this model alone"
    assert "takes no temperature" in caplog.text


def test_all_who_ask_at_once_learn_what_a_server_takes() -> None:
    """The first is refused twice while the others still wait to be refused once."""

    def slow(body: dict[str, Any], before: int) -> str | Response:
        if "max_tokens" in body and body["messages"][0]["content"] != "0":
            time.sleep(0.3)
        return newer(body, before)

    with ChatServer(slow) as server:
        endpoint = Endpoint(server.url, "m", ChatSettings(retries=0, concurrency=4))
        replies = endpoint.ask([asking(str(number)) for number in range(4)])
    assert [reply.text or reply.error for reply in replies] == ["ok"] * 4


def test_requests_beside_each_other_find_it_out_together() -> None:
    """One has found out the first refusal, and not yet the second, when another meets the first."""
    for _ in range(5):
        with ChatServer(newer, wait=0.01) as server:
            replies = Endpoint(server.url, "m", ChatSettings(retries=0, concurrency=6)).ask(
                [asking(str(n)) for n in range(12)]
            )
        assert [reply.text for reply in replies] == ["ok"] * 12


def test_kept_replies_of_such_a_server_are_found_again() -> None:
    with ChatServer(newer) as server:
        for _ in range(2):
            chat = CachedChat(Endpoint(server.url, "m", QUICK))
            assert [reply.text for reply in chat.ask([asking("a")])] == ["ok"]
        assert len(server.requests) == 3


def test_where_the_other_way_is_refused_too_it_is_tried_once_and_the_first_words_are_told() -> None:
    def answer(body: dict[str, Any], _: int) -> Response:
        return fault(400, f"'{'max_tokens' if 'max_tokens' in body else 'max_completion_tokens'}' is too large: 1024")

    with ChatServer(answer) as server:
        replies = Endpoint(server.url, "m", ChatSettings(retries=0, concurrency=1)).ask([asking("a"), asking("b")])
        assert len(server.requests) == 4
    assert all("'max_tokens' is too large" in reply.error for reply in replies)


@pytest.mark.parametrize(
    "detail",
    [
        "Unexpected fields in the request: {'top_k', 'repetition_penalty'}",
        [{"loc": ["body", name], "msg": "Not permitted", "input": 1} for name in ("top_k", "repetition_penalty")],
    ],
)
def test_what_a_server_refuses_in_fastapis_form_is_understood(detail: Any) -> None:
    def answer(body: dict[str, Any], _: int) -> str | Response:
        return JSONResponse({"detail": detail}, 422) if {"top_k", "repetition_penalty"} & set(body) else "ok"

    settings = ChatSettings(1.0, retries=0, top_p=1.0, top_k=0, repetition_penalty=1.0, exact=True)
    with ChatServer(answer) as server:
        endpoint = Endpoint(server.url, "m", settings)
        assert endpoint.ask([Query((Message("user", "a"),), seed=7)])[0].text == "ok"
        assert endpoint.not_sent(7) == ["top_k", "repetition_penalty"]
        assert {name: server.requests[-1][name] for name in ("temperature", "top_p", "seed")} == {
            "temperature": 1.0,
            "top_p": 1.0,
            "seed": 7,
        }
        five = Endpoint(server.url, "m", dataclasses.replace(settings, top_k=5))
        with pytest.raises(ModelError, match="takes no top_k for m, and 5 is asked for"):
            five.ask([asking("b")])


def test_a_refusal_of_something_else_changes_nothing() -> None:
    with ChatServer(lambda body, _: fault(400, "the content is filtered")) as server:
        endpoint = Endpoint(server.url, "m", QUICK)
        assert "the content is filtered" in endpoint.ask([asking("a")])[0].error
        assert len(server.requests) == 1
        assert endpoint.identity["temperature"] == 0


def test_a_reply_that_is_cut_is_no_verdict_and_no_rewriting(image: ImageData) -> None:
    with ChatServer(lambda *_: finished("Better: Response 1, since", "length")) as server:
        chat = FinalReplies(Endpoint(server.url, "m", QUICK))
        [verdict] = ChatAnnotator(chat).compare([Comparison((image,), (Message("user", "?"),), "a", "b")])
        [written] = ChatRewriter(chat).rewrite([Rewriting("0", (image,), (Message("user", "?"),), "a")])
    assert verdict.kind == "missing"
    assert "cut at its limit of 1024 tokens" in verdict.error
    assert written.text is None
    assert written.raw == "Better: Response 1, since"


def test_that_a_reply_was_cut_is_kept_with_it(tmp_path: Path) -> None:
    with ChatServer(lambda *_: finished("Rating: 2. But", "length")) as server:
        spec = f"{server.url}#m"
        for _ in range(2):
            [reply] = open_chat(spec, QUICK).ask([asking("a")])
            assert reply.text is None
        assert len(server.requests) == 1
        [file] = (tmp_path / "cache/replies").rglob("*.json")
        content = json.loads(file.read_text())
        del content["cut"]  # as files of before
        file.write_text(json.dumps({**content, "completion_tokens": 1024}))
        assert open_chat(spec, QUICK).ask([asking("a")])[0].text is None
        file.write_text(json.dumps(content))
        assert open_chat(spec, QUICK).ask([asking("a")])[0].text == "Rating: 2. But"


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (finished("<think>Better: Response 1?</think>Better: Response 2", "stop"), "Better: Response 2"),
        (finished("Better: Response 2", "stop", reasoning_content="Better: Response 1"), "Better: Response 2"),
        (finished([{"type": "thinking", "thinking": []}, {"type": "text", "text": "yes"}], "stop"), "yes"),  # type: ignore[arg-type]
        (finished(None, "length", reasoning_content="thinking ..."), None),
        (finished("<think>yes", "stop"), None),
        (finished("Better: Resp", "content_filter"), None),
    ],
)
def test_of_reasoning_the_answer_counts(reply: Response, text: str | None) -> None:
    with ChatServer(lambda *_: reply) as server:
        [found] = FinalReplies(Endpoint(server.url, "m", QUICK)).ask([asking("a")])
    assert found.text == text
    assert text is not None or re.search(r"no text|reasoning without an answer|content filter", found.error)


def test_a_setting_tells_other_weights_under_the_same_name_apart() -> None:
    with ChatServer(lambda _, before: str(before)) as server:
        spec = f"{server.url}#m"
        asked = [
            open_chat(spec, ChatSettings(revision=name)).ask([asking("a")])[0].text for name in (None, "a", "b", "a")
        ]
    assert asked == ["0", "1", "2", "1"], "a server that was started with other weights is asked anew"
