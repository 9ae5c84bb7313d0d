"""A model in this process as annotator: its words equal its own, its yes is the naive forward's."""

from __future__ import annotations

import pytest
import torch

from mmpref.images import decode
from mmpref.judges.chat import ChatSettings, Query
from mmpref.judges.local import LocalChat
from mmpref.types import ImageData, Message
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import tiny


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny("llava_next")


def queries(image: ImageData) -> list[Query]:
    texts = ("What is there?", "Is it red? Yes or no.", "Is there a dog in the picture?")
    return [Query((Message("user", text),), (image,)) for text in texts] + [Query((Message("user", "Hello?"),))]


def test_replies_are_what_the_model_says(policy: Policy, image: ImageData) -> None:
    chat = LocalChat(lambda: policy, "tiny", ChatSettings(max_tokens=5))
    asked = queries(image)
    replies = chat.ask(asked)
    expected = generate(
        policy,
        [Request(query.messages, tuple(decode(one) for one in query.images)) for query in asked],
        Decoding(5),
    )
    assert [reply.text for reply in replies] == expected
    broken = Query(asked[0].messages, (ImageData(b"no image", "x.png"),))
    replies = chat.ask([asked[1], broken, asked[2]])
    assert [replies[0].text, replies[2].text] == expected[1:3]
    assert replies[1].text is None
    assert "x.png" in replies[1].error


def test_sampled_replies_depend_on_the_query_alone(policy: Policy, image: ImageData) -> None:
    chat = LocalChat(lambda: policy, "tiny", ChatSettings(temperature=1.0, max_tokens=6))
    asked = queries(image)
    together = [reply.text for reply in chat.ask(asked)]
    assert [chat.ask([query])[0].text for query in asked] == together
    again = Query(asked[0].messages, asked[0].images, repeat=1)
    assert chat.ask([again])[0].text != together[0]


def test_the_probability_of_yes_is_that_of_a_plain_forward(policy: Policy, image: ImageData) -> None:
    chat = LocalChat(lambda: policy, "tiny")
    asked = queries(image)
    together = chat.yes(asked)
    assert together == pytest.approx([chat.yes([query])[0] for query in asked], abs=1e-5)
    tokens = {
        word: policy.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("Yes", "yes", "No", "no")
    }
    for query, yes in zip(asked, together, strict=True):
        inputs = policy.prompter.prepare(query.messages, [decode(one) for one in query.images])
        with torch.inference_mode():
            chances = policy.base_model(**inputs).logits[0, -1].float().softmax(-1)
        says = sum(chances[token] for token in {tokens["Yes"], tokens["yes"]})
        denies = sum(chances[token] for token in {tokens["No"], tokens["no"]})
        assert yes == pytest.approx(float(says / (says + denies)), abs=1e-5)


def test_an_image_that_cannot_be_seen_has_no_probability(policy: Policy, image: ImageData) -> None:
    chat = LocalChat(lambda: policy, "tiny")
    found = chat.yes([Query((Message("user", "Is it?"),), (ImageData(b"x", "x"),)), queries(image)[1]])
    assert found[0] is None
    assert found[1] is not None
