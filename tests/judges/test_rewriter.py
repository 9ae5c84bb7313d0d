"""Rewriting an answer, and splitting and checking its claims, by models behind an endpoint."""

from __future__ import annotations

import pytest

from mmpref.errors import UsageError
from mmpref.judges.chat import ChatSettings
from mmpref.judges.claims import ChatChecker, ChatSplitter, Claim
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.rewriter import ChatRewriter, Rewriting, count_rewriting, open_rewriter
from mmpref.types import ImageData, Message
from tests.judges.server import ChatServer, fault, text_of

QUICK = ChatSettings(retries=0)
PROMPT = (Message("user", "What is there?"),)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("A cat.", "A cat."),
        ('"A cat."', "A cat."),
        ("Rewritten: A cat.", "A cat."),
        ("**Rewritten answer:** A cat.\n", "A cat."),
        ('"No", he said, "a cat"', '"No", he said, "a cat"'),
        ("The answer: a cat.", "The answer: a cat."),
        ("```\nA cat.\n```", "A cat."),
        ("```text\nA cat.\nAnd a bird.\n```\n", "A cat.\nAnd a bird."),
        ("```A cat.```", "A cat."),
        ("“A cat.”", "A cat."),
        ("Sure! Here is the rewritten answer:\n\nA cat.", "A cat."),
        ("Here’s a revised version of the answer: A cat.", "A cat."),
        ("**Here is the corrected description:**\nA cat.", "A cat."),
        ("Certainly, here you go:\n```\nA cat.\n```", "A cat."),
        ('Sure! Here is the new answer:\n"A cat."', "A cat."),
        ("```\nRewritten: A cat.\n```", "A cat."),
        ("The picture shows:\n- a cat", "The picture shows:\n- a cat"),
        ("The corrected sign reads: STOP", "The corrected sign reads: STOP"),
        ("New York: a cat.", "New York: a cat."),
        ("OK signs on both doors read:\nPULL", "OK signs on both doors read:\nPULL"),
        ("Here are the objects:\n- a cat", "Here are the objects:\n- a cat"),
        ("```\nA cat.\n```\nand\n```\nA bird.\n```", "```\nA cat.\n```\nand\n```\nA bird.\n```"),
        ("Sure! Here is the rewritten answer:", "Sure! Here is the rewritten answer:"),
        ("", ""),
    ],
)
def test_the_new_answer_is_the_reply_without_what_models_put_around_it(
    reply: str, answer: str, image: ImageData
) -> None:
    with ChatServer(lambda *_: reply) as server:
        [rewritten] = ChatRewriter(Endpoint(server.url, "m", QUICK)).rewrite(
            [Rewriting("1", (image,), PROMPT, "A dog.")]
        )
    assert rewritten.text == answer
    assert rewritten.unwrapped == (reply.strip() != answer)
    assert rewritten.prompt_tokens == 11
    asked = text_of(server.requests[0])
    assert asked.endswith("Question: What is there?\nAnswer: A dog.\nRewritten:")
    assert isinstance(server.requests[0]["messages"][0]["content"], str), "the image is not shown unless asked for"


def test_the_image_is_shown_where_asked_for_and_the_instruction_can_be_ones_own(image: ImageData) -> None:
    with ChatServer(lambda *_: "x") as server:
        chat = Endpoint(server.url, "m", QUICK)
        ChatRewriter(chat, "Lie: {answer} ({prompt})", True).rewrite([Rewriting("1", (image,), PROMPT, "A dog.")])
    shown, asked = server.requests[0]["messages"][0]["content"]
    assert shown["type"] == "image_url"
    assert asked["text"] == "Lie: A dog. (What is there?)"


@pytest.mark.parametrize(
    ("original", "reply", "answer"),
    [
        ("```\nx = 1\n```", "```\nx = 2\n```", "```\nx = 2\n```"),
        ('"STOP"', '"YIELD"', '"YIELD"'),
        ("Certainly! I see:\n- a dog", "Certainly! I see:\n- a cat", "Certainly! I see:\n- a cat"),
        ("I see:\n- a dog", "Rewritten:\nI see:\n- a cat", "I see:\n- a cat"),
        ("I'm sorry, but I can't help with that.", "I can't help with this.", "I can't help with this."),
    ],
)
def test_what_the_original_has_around_it_too_belongs_to_the_new_answer(original: str, reply: str, answer: str) -> None:
    with ChatServer(lambda *_: reply) as server:
        [new] = ChatRewriter(Endpoint(server.url, "m", QUICK)).rewrite([Rewriting("1", (), PROMPT, original)])
    assert new.text == answer


@pytest.mark.parametrize("around", ["{}", "```\n{}\n```", '"{}"'])
def test_a_refusal_is_no_answer_and_no_failed_request(around: str) -> None:
    refusal = "I'm sorry, but I can't help with that."
    with ChatServer(lambda *_: around.format(refusal)) as server:
        replies = ChatRewriter(Endpoint(server.url, "m", QUICK)).rewrite([Rewriting("1", (), PROMPT, "A dog.")])
    assert replies[0].text is None
    assert replies[0].refused
    assert refusal in replies[0].error
    counts = count_rewriting(replies)
    assert counts["failed"] == 0
    assert "unwrapped" not in counts


def test_a_failed_request_has_no_answer(image: ImageData) -> None:
    with ChatServer(lambda *_: fault(400)) as server:
        [reply] = ChatRewriter(Endpoint(server.url, "m", QUICK)).rewrite([Rewriting("1", (image,), PROMPT, "A dog.")])
    assert reply.text is None


def test_who_cannot_rewrite_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be asked in words"):
        open_rewriter("a.module:function")


def test_claims_are_true_false_or_missing(image: ImageData) -> None:
    replies = {"one": "Yes.", "two": "**No**, there is none.", "three": "Perhaps", "four": fault(400), "five": "NO"}
    with ChatServer(lambda body, _: replies[text_of(body).split("\n")[2]]) as server:  # type: ignore[return-value]
        found = ChatChecker(Endpoint(server.url, "m", QUICK)).check([Claim((image,), text) for text in replies])
    assert [finding.probability for finding in found] == [1.0, 0.0, None, None, 0.0]
    assert [finding.usage["failed"] for finding in found] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        ("- There is a dog.\n- The dog is red.", ["There is a dog.", "The dog is red."]),
        ("Facts:\n1. One.\n2) Two.\n* Two.", ["One.", "Two."]),
        ("None.", []),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_facts_of_an_answer(reply: str, facts: list[str] | None) -> None:
    with ChatServer(lambda *_: reply) as server:
        [(found, _)] = ChatSplitter(Endpoint(server.url, "m", QUICK))([(PROMPT, "A dog.")])
    assert found == facts
