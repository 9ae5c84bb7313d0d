"""Comparing two answers: both orders, what a reply names, ties, missing verdicts, and ranking several."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpref.errors import ModelError, UsageError
from mmpref.judges.annotator import (
    ChatAnnotator,
    Comparison,
    conversation_text,
    count_verdicts,
    fill_template,
    rank_answers,
)
from mmpref.judges.chat import ChatSettings
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.resolve import open_annotator
from mmpref.judges.verdicts import choice
from mmpref.types import ImageData, Message
from tests.judges.server import ChatServer, fault, text_of

PROMPT = (Message("user", "What is there?"),)
QUICK = ChatSettings(retries=0)


def responses(body: dict) -> tuple[str, str]:
    text = text_of(body)
    found = re.search(r"Response 1:\n(.*)\n\nResponse 2:\n(.*)\n\nName", text, re.S)
    assert found
    return found[1], found[2]


def longer(body: dict, _: int) -> str:
    first, second = responses(body)
    return f"Because.\n**Better:** Response {1 if len(first) > len(second) else 2}"


def test_an_annotator_that_looks_at_the_answers_agrees_with_itself(image: ImageData) -> None:
    with ChatServer(longer) as server:
        verdicts = ChatAnnotator(Endpoint(server.url, "m", QUICK)).compare(
            [Comparison((image,), PROMPT, "short", "a long one"), Comparison((image,), PROMPT, "a long one", "short")]
        )
    assert [verdict.winner for verdict in verdicts] == ["second", "first"]
    assert len(server.requests) == 4
    assert all(body["messages"][0]["content"][0]["type"] == "image_url" for body in server.requests)
    counts = count_verdicts(verdicts)
    assert counts == {
        "comparisons": 2,
        "agreed": 2,
        "tie": 0,
        "missing": 0,
        "named": 4,
        "named_first": 2,
        "requests": 4,
        "failed": 0,
        "prompt_tokens": 44,
        "completion_tokens": 12,
    }


def test_an_annotator_that_loves_a_place_gives_ties_and_is_found_out(image: ImageData) -> None:
    with ChatServer(lambda *_: "Better: Response 1") as server:
        verdicts = ChatAnnotator(Endpoint(server.url, "m", QUICK)).compare([Comparison((image,), PROMPT, "a", "b")] * 3)
    assert [(verdict.winner, verdict.kind) for verdict in verdicts] == [(None, "tie")] * 3
    counts = count_verdicts(verdicts)
    assert counts["named_first"] / counts["named"] == 1.0


def test_a_reply_that_fails_or_names_nothing_is_missing_never_a_label(image: ImageData) -> None:
    def answer(body: dict, before: int) -> object:
        first, _ = responses(body)
        return {"a": "Better: Response 1", "b": "I cannot say.", "c": fault(400)}[first]

    with ChatServer(answer) as server:  # type: ignore[arg-type]
        verdicts = ChatAnnotator(Endpoint(server.url, "m", QUICK)).compare(
            [Comparison((image,), PROMPT, "a", "b"), Comparison((image,), PROMPT, "c", "a")]
        )
    assert [verdict.kind for verdict in verdicts] == ["missing", "missing"]
    assert "names no response" in verdicts[0].error
    assert "HTTP 400" in verdicts[1].error
    assert count_verdicts(verdicts)["failed"] == 1


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        ("Better: Response 1", 1),
        ("Some text.\n\n**Better: Response 2**", 2),
        ("better response: 2", 2),
        ("The better one is Response 1.", 1),
        ("Better: [[2]]", 2),
        ("Response 2", 2),
        ("**Response 1.**", 1),
        ("Response 1 says there is a dog, Response 2 does not.", None),
        ("Better: Response 1\nBetter: Response 2", None),
        ("Better: Response 12", None),
        ("Better: neither", None),
        ("", None),
        ("Write either\nBetter: Response 1\nor\nBetter: Response 2", None),
    ],
)
def test_what_a_reply_names(reply: str, place: int | None) -> None:
    assert choice(reply) == place


@given(st.text(), st.sampled_from([1, 2]), st.text(alphabet=" \n*_`"))
def test_a_verdict_line_is_read_whatever_the_reasons_say(reasons: str, place: int, marks: str) -> None:
    if "better" not in reasons.lower():
        assert choice(f"{reasons}\nBetter: {marks}Response {place}{marks}") == place


@given(st.text())
def test_any_reply_is_read_or_missing(reply: str) -> None:
    assert choice(reply) in (1, 2, None)


def test_a_template_takes_braces_as_text() -> None:
    assert fill_template("{a} {b} {{c}} {}", a="{b}", b="x") == "{b} x {{c}} {}"


def test_a_conversation_keeps_its_roles() -> None:
    turns = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "What?"))
    assert conversation_text(turns) == "User: Hi\nAssistant: Yes?\nUser: What?"
    assert conversation_text(turns[:1]) == "Hi"


def by_length(images: list, prompt: str, first: str, second: str) -> int:
    assert images[0].mode == "RGB"
    assert prompt == "What is there?"
    return 0 if len(first) == len(second) else 1 if len(first) > len(second) else 2


def wrong(*_: object) -> str:
    return "first"


def always_first(*_: object) -> int:
    return 1


def test_a_python_function_that_loves_a_place_gives_ties_and_is_found_out(image: ImageData) -> None:
    annotator = open_annotator("tests.judges.test_annotator:always_first")
    verdicts = annotator.compare([Comparison((image,), PROMPT, "a", "b"), Comparison((image,), PROMPT, "c", "d")])
    assert [(verdict.winner, verdict.kind, verdict.places) for verdict in verdicts] == [(None, "tie", (1, 1))] * 2
    counts = count_verdicts(verdicts)
    assert (counts["agreed"], counts["tie"], counts["named"], counts["named_first"]) == (0, 2, 4, 4)
    [tie] = open_annotator("tests.judges.test_annotator:by_length").compare([Comparison((image,), PROMPT, "a", "b")])
    assert (tie.kind, tie.places) == ("tie", (None, None))


def test_a_python_function_is_an_annotator(image: ImageData) -> None:
    annotator = open_annotator("tests.judges.test_annotator:by_length")
    verdicts = annotator.compare(
        [Comparison((image,), PROMPT, *pair) for pair in (("aa", "b"), ("a", "bb"), ("a", "b"))]
    )
    assert [verdict.winner for verdict in verdicts] == ["first", "second", None]
    with pytest.raises(ModelError, match="must be 1, 2, or 0"):
        open_annotator("tests.judges.test_annotator:wrong").compare([Comparison((image,), PROMPT, "a", "b")])
    with pytest.raises(UsageError, match="no function"):
        open_annotator("tests.judges.test_annotator:absent")


def test_ranking_takes_the_most_and_the_least_successful(image: ImageData) -> None:
    annotator = open_annotator("tests.judges.test_annotator:by_length")
    asked = [((image,), PROMPT, answers) for answers in (["aa", "a", "aaaa", "aaa"], ["a", "b"], ["a", "a"], [])]
    best, tie, one, none = rank_answers(annotator, asked)
    assert (best.best, best.worst, best.margin, len(best.verdicts)) == ("aaaa", "a", 6, 6)
    assert (tie.best, tie.worst, len(tie.verdicts)) == (None, None, 1)
    assert (one.verdicts, none.verdicts) == ((), ())


def test_an_instruction_is_for_models_only() -> None:
    with pytest.raises(UsageError, match="takes no instruction"):
        open_annotator("testbed-oracle", instruction="{prompt} {first} {second}")
