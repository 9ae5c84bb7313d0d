"""Several questions about one image: each is answered as if it were asked alone, and what they share runs once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from mmpref.types import Message
from mmpref.vlm.attention import Attention
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import PromptBatch, Request, generate
from mmpref.vlm.policy import Policy
from mmpref.vlm.vision_tower import VisionTower
from tests.vlm.test_families import EVERY, picture, policy_of

GREEDY = Decoding(6, greedy=True)
BY_ATTENTION = ["llava_next", "llava_gemma2", "qwen3_vl", "gemma3", "paligemma"]
"""A family of every kind of decoder: causal, with windows, with three axes and features for its layers, with images and
with prompts that see themselves both ways."""
QUESTIONS = ("w9 w1 w2 w3 .", "w9 w4 .", "w9 w4 .", "w9 w1 w2 w5 w6 w7 w8 .", "w9 w1", "w4 .")
FEW = (QUESTIONS[0], QUESTIONS[1], QUESTIONS[-1])
ABOUT_NONE = Request((Message("user", "w3 ."),), ())


def about(*pictures: Image.Image, questions: Sequence[str] = QUESTIONS) -> list[Request]:
    return [Request((Message("user", text),), (image,)) for text in questions for image in pictures]


def as_if_alone(policy: Policy, requests: list[Request], hide_images: bool = False) -> None:
    alone = [generate(policy, [request], GREEDY, hide_images=hide_images)[0] for request in requests]
    assert generate(policy, requests, GREEDY, batch_size=32, hide_images=hide_images) == alone
    assert generate(policy, requests, GREEDY, batch_size=4, hide_images=hide_images) == alone


@EVERY
def test_questions_are_answered_as_if_alone(name: str) -> None:
    """Two that begin alike and one that does not, about either of two images, and one about none."""
    as_if_alone(policy_of(name), [*about(picture(0), picture(1), questions=FEW), ABOUT_NONE])


@pytest.mark.parametrize("hide_images", [False, True])
@pytest.mark.parametrize("name", BY_ATTENTION)
def test_many_questions_are_answered_as_if_alone(name: str, hide_images: bool) -> None:
    as_if_alone(policy_of(name), [*about(picture(0), picture(1)), ABOUT_NONE], hide_images)


def test_what_they_share_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of("llava_next")
    preprocessed: list[int] = []
    prefilled: list[int] = []
    prefill = Attention.prefill
    preprocess = type(policy.processor.image_processor).__call__

    def count_tokens(self: Attention, contexts: Any, texts: Any) -> Any:
        prefilled.extend(len(context.embeds) + len(text) for context, text in zip(contexts, texts, strict=True))
        return prefill(self, contexts, texts)

    def count_images(self: Any, *args: Any, **settings: Any) -> Any:
        preprocessed.append(1)
        return preprocess(self, *args, **settings)

    monkeypatch.setattr(Attention, "prefill", count_tokens)
    monkeypatch.setattr(type(policy.processor.image_processor), "__call__", count_images)
    requests = about(picture(0), picture(1))
    generate(policy, requests, GREEDY, batch_size=32)
    assert len(preprocessed) == 2
    assert len(prefilled) == 4, "the last question shares no word behind the image"
    together = sum(prefilled)
    prefilled.clear()
    for request in requests:
        generate(policy, [request], GREEDY)
    assert together < 0.4 * sum(prefilled)


def test_a_question_with_its_image_elsewhere_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before the image differs: nothing can be shared behind it."""
    policy = policy_of("llava_next")
    image = picture(0)
    turns = [(Message("system", text), Message("user", "w4 .")) for text in ("w1 w2", "w3")]
    requests = [Request(messages, (image,)) for messages in turns]
    if policy.render(turns[0], 1) == policy.render(turns[1], 1):
        pytest.fail("the template leaves system turns out, so this shows nothing")
    alone = [generate(policy, [request], GREEDY)[0] for request in requests]
    assert generate(policy, requests, GREEDY) == alone


def changed(policy: Policy) -> dict[str, torch.Tensor]:
    """Other weights in the decoder and the projector, as an adapter brings them; the tower's stay."""
    tower = {id(value) for value in policy.base_model.get_encoder(modality="image").parameters()}
    projectors = {id(value) for module in VisionTower(policy)._projectors() for value in module.parameters()}
    before = {}
    for name, value in policy.base_model.named_parameters():
        if id(value) in projectors or id(value) not in tower:
            before[name] = value.detach().clone()
            value.data.mul_(1.1)
    return before


def texts(batch: PromptBatch) -> list[str]:
    return [answer.text for answer in batch.generate(GREEDY)]


@EVERY
def test_two_models_see_through_one_tower(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(name)
    requests = about(picture(0), picture(1), questions=FEW[:2])
    base = generate(policy, requests, GREEDY)
    asked = PromptBatch(policy, requests, reuse_features=True)
    assert texts(asked) == base
    before = changed(policy)
    try:
        other = generate(policy, requests, GREEDY)
        ran: list[int] = []
        layers = VisionTower(policy)._layers()
        hooks = [
            module.register_forward_hook(lambda *_: ran.append(1))
            for layer in layers
            for module in layer.modules()
            if isinstance(module, torch.nn.Linear)
        ]
        assert texts(asked) == other
        assert not ran
        for hook in hooks:
            hook.remove()
    finally:
        for key, value in policy.base_model.named_parameters():
            if key in before:
                value.data.copy_(before[key])
    assert texts(asked) == base


def test_a_long_context_gets_as_many_rows_as_memory_is_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows copy what they share: questions about one image do not all come in at once."""
    import mmpref.vlm.shared_prefix_pool as decode_module

    policy = policy_of("llava_next")
    images = (picture(0),)
    requests = [Request((Message("user", f"w9 w{number} ."),), images) for number in range(32)]
    expected = generate(policy, requests, GREEDY, batch_size=32)
    rows: list[int] = []
    extend = Attention.extend

    def counted(self: Attention, texts: Any, cache: Any, first: int) -> Any:
        rows.append(cache.rows)
        assert len(texts) * max(map(len, texts)) <= decode_module.PREFILL_TOKENS
        return extend(self, texts, cache, first)

    monkeypatch.setattr(Attention, "extend", counted)
    monkeypatch.setattr(decode_module, "ROW_SLOTS", 16)
    monkeypatch.setattr(decode_module, "PREFILL_TOKENS", 24)
    assert generate(policy, requests, GREEDY, batch_size=32) == expected
    assert len(rows) > 4
    assert max(rows) <= 32 * 16 // 60
