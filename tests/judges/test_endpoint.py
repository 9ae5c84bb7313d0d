"""The client of OpenAI-compatible endpoints, against a real server that misbehaves as told."""

from __future__ import annotations

import base64
import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.errors import ModelError, RunError, UsageError
from mmpref.judges.chat import ChatSettings, Query, Reply, count_usage
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.reply_cache import CachedChat, write_reply
from mmpref.judges.request_images import data_url
from mmpref.judges.resolve import open_chat
from mmpref.types import ImageData, Message
from tests.hub.server.faults import LostAnswer
from tests.judges.server import ChatServer, fault, raw, text_of

QUICK = ChatSettings(retries=2, timeout=5)


def asking(text: str, *images: ImageData) -> Query:
    return Query((Message("user", text),), images)


def test_replies_come_in_order_with_their_counts(image: ImageData) -> None:
    with ChatServer(lambda body, _: text_of(body).upper()) as server:
        replies = Endpoint(server.url, "m", QUICK).ask([asking("a"), asking("b", image), asking("c")])
    assert [reply.text for reply in replies] == ["A", "B", "C"]
    assert count_usage(replies) == {"requests": 3, "failed": 0, "prompt_tokens": 33, "completion_tokens": 9}
    assert set(server.keys) == {"Bearer sk-very-secret"}
    [shown] = [body for body in server.requests if text_of(body) == "b"]
    assert shown["temperature"] == 0
    assert shown["model"] == "m"
    part = shown["messages"][0]["content"][0]
    assert part["image_url"]["url"] == f"data:image/jpeg;base64,{base64.b64encode(image.content).decode()}"


def test_an_image_in_a_format_that_endpoints_do_not_take_goes_as_png() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(buffer, "TIFF")
    head, _, content = data_url(ImageData(buffer.getvalue(), "x.tif")).partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).getpixel((0, 0)) == (1, 2, 3)


def test_no_more_requests_at_once_than_asked_for() -> None:
    with ChatServer(lambda *_: "x", wait=0.05) as server:
        Endpoint(server.url, "m", ChatSettings(concurrency=3)).ask([asking(str(n)) for n in range(12)])
    assert server.most_at_once == 3


def test_what_passes_is_tried_again() -> None:
    troubles = {"busy": fault(429, retry_after="0.01"), "broken": fault(503), "lost": LostAnswer(), "fine": None}
    with ChatServer(lambda body, before: (not before and troubles[text_of(body)]) or "ok") as server:
        replies = Endpoint(server.url, "m", QUICK).ask([asking(name) for name in troubles])
    assert [reply.text for reply in replies] == ["ok"] * 4
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("HTTP 500", fault(500)),
        ("HTTP 400", fault(400, "content filter")),
        ("no chat completion", raw("<html>not json</html>")),
        ("no chat completion", raw('{"id": "x", "choices": [{"index": 0, "mess')),
        ("no chat completion", raw("{}")),
        ("no chat completion", raw('{"choices": []}')),
        ("no text", raw('{"choices": [{"finish_reason": "content_filter", "message": {"content": null}}]}')),
    ],
)
def test_a_failed_request_is_missing_and_the_others_are_not(name: str, answer: object) -> None:
    with ChatServer(lambda body, _: answer if text_of(body) == "bad" else "ok") as server:  # type: ignore[return-value,arg-type]
        replies = Endpoint(server.url, "m", ChatSettings(retries=0)).ask([asking("good"), asking("bad")])
    assert replies[0].text == "ok"
    assert replies[1].text is None
    assert name in replies[1].error


def test_a_slow_server_is_missing() -> None:
    with ChatServer(lambda *_: "late", wait=0.6) as server:
        [reply] = Endpoint(server.url, "m", ChatSettings(retries=0, timeout=0.1)).ask([asking("a")])
    assert reply == Reply(None, "no answer within 0.1 s")


@pytest.mark.parametrize(("status", "hint"), [(401, "MMPREF_API_KEY"), (403, "MMPREF_API_KEY"), (404, "URL#MODEL")])
def test_what_no_request_would_get_past_stops(status: int, hint: str) -> None:
    with ChatServer(lambda *_: fault(status)) as server, pytest.raises(ModelError, match=hint) as caught:
        Endpoint(server.url, "m", QUICK).ask([asking("a")] * 3)
    assert "sk-very" not in str(caught.value)


MODERATED: list[Any] = [
    {
        "error": {
            "code": 403,
            "message": "me/m requires moderation. Your input was flagged",
            "metadata": {"reasons": ["violence"], "flagged_input": "Is my account's api key suspended?"},
        }
    },
    {"error": {"code": 403, "message": "no", "metadata": {"flagged_input": "my account"}}},
    {"error": {"code": "content_policy_violation", "message": "no"}},
    {"error": {"code": "403", "message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
    {"code": "The caller does not have permission", "error": "Content violates usage guidelines. SAFETY_CHECK_TYPE_X"},
    {"error": {"code": "data_inspection_failed", "message": "Input may contain inappropriate content."}},
    [{"error": {"code": 403, "status": "PROHIBITED_CONTENT"}}],
]


@pytest.mark.parametrize("body", MODERATED)
def test_moderation_refuses_one_request(body: Any) -> None:
    refusal = raw(json.dumps(body), 403)
    with ChatServer(lambda asked, _: refusal if text_of(asked) == "bad" else "ok") as server:
        replies = Endpoint(server.url, "m", QUICK).ask([asking("bad"), asking("good")])
    assert [reply.text for reply in replies] == [None, "ok"]
    assert replies[0].error.startswith("HTTP 403")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "no", "code": "invalid_api_key"}},
        {"error": {"message": "Your account was flagged for violating our usage policies."}},
        {"error": {"message": "Country, region, or territory not supported"}},
        {"detail": "not yours"},
        "no JSON",
    ],
)
def test_a_refusal_of_whoever_asks_stops(said: Any, status: int) -> None:
    with ChatServer(lambda *_: raw(json.dumps(said), status)) as server, pytest.raises(ModelError, match="API_KEY"):
        Endpoint(server.url, "m", QUICK).ask([asking("a")])


def test_a_server_that_is_not_there_stops() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "m", ChatSettings(retries=0))
    with pytest.raises(ModelError, match="cannot be reached"):
        endpoint.ask([asking("a")])


def test_a_server_that_always_fails_is_given_up() -> None:
    with ChatServer(lambda *_: fault(500)) as server:
        endpoint = Endpoint(server.url, "m", ChatSettings(retries=0))
        with pytest.raises(ModelError, match="20 requests in a row"):
            endpoint.ask([asking(str(n)) for n in range(100)])
    assert len(server.requests) < 40


def test_replies_are_kept_and_a_restart_asks_only_for_the_rest(image: ImageData, tmp_path: Path) -> None:
    """The second arm dies after some replies; the third asks for those that are missing, and no more."""
    queries = [asking(str(n), image) for n in range(10)]
    with ChatServer(lambda body, _: text_of(body)) as server:
        first = CachedChat(Endpoint(server.url, "m", QUICK)).ask(queries[:4])
        assert len(server.requests) == 4
        again = CachedChat(Endpoint(server.url, "m", QUICK)).ask(queries)
        assert len(server.requests) == 10
        # another decoding is another request
        CachedChat(Endpoint(server.url, "m", ChatSettings(temperature=1))).ask(queries[:1])
        assert len(server.requests) == 11
        # and so is another image, and another repeat
        CachedChat(Endpoint(server.url, "m", QUICK)).ask([asking("0"), Query(queries[0].messages, (image,), repeat=1)])
        assert len(server.requests) == 13
    assert [reply.text for reply in again] == [str(n) for n in range(10)]
    assert [reply.cached for reply in again] == [True] * 4 + [False] * 6
    assert [reply.prompt_tokens for reply in again] == [11] * 10
    assert [reply.text for reply in first] == ["0", "1", "2", "3"]
    kept = "".join(file.read_text() for file in (tmp_path / "cache").rglob("*.json"))
    assert "secret" not in kept


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder in which nobody may write")
def test_a_cache_that_cannot_be_written_says_what_places_it() -> None:
    for file in (Path("/sys/kernel/reply.json"), Path("/sys/kernel/none/reply.json")):
        with pytest.raises(RunError, match=r"Cannot write .*reply\.json \(.*\)\. Set MMPREF_CACHE to a folder"):
            write_reply(file, Reply("yes"))


def test_what_was_answered_before_the_server_died_is_kept() -> None:
    with ChatServer(lambda body, _: fault(401) if int(text_of(body)) >= 5 else "ok") as server:
        chat = CachedChat(Endpoint(server.url, "m", ChatSettings(concurrency=1)))
        with pytest.raises(ModelError):
            chat.ask([asking(str(n)) for n in range(8)])
        assert all(reply.cached for reply in chat.ask([asking(str(n)) for n in range(5)]))


def test_failed_replies_are_asked_again_and_broken_files_too(tmp_path: Path) -> None:
    with ChatServer(lambda _, before: "ok" if before else fault(400)) as server:
        chat = CachedChat(Endpoint(server.url, "m", QUICK))
        assert chat.ask([asking("a")])[0].text is None
        assert chat.ask([asking("a")])[0].text == "ok"
        [file] = (tmp_path / "cache").rglob("*.json")
        file.write_text(json.dumps({"text": "ok"})[:-3])
        assert chat.ask([asking("a")])[0] == Reply("ok", "", 11, 3)
    assert len(server.requests) == 3


@pytest.mark.parametrize("spec", ["http://x/v1", "http://me:pass@x/v1#m", "testbed-oracle", "a.module:function"])
def test_words_that_name_no_chat_model(spec: str) -> None:
    with pytest.raises(UsageError):
        open_chat(spec, ChatSettings())
