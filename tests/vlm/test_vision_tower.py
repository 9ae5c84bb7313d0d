"""The vision tower's features, recorded and replayed: only where the tower is known and the same for all models, and
without traces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mmpref.types import ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import decoder_inputs
from mmpref.vlm.families import find_family
from mmpref.vlm.generate import PromptBatch, generate
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from mmpref.vlm.vision_tower import FeatureMismatch, VisionTower
from tests.vlm.test_families import picture
from tests.vlm.test_generate import about
from tests.vlm.test_shared_prefix_forward import batch_of
from tests.vlm.tiny import tiny

GREEDY = Decoding(6, greedy=True)


def adapted(name: str, targets: list[str] | str) -> Policy:
    """A policy with an adapter of large random weights, switched on."""
    policy = tiny(name)
    model = get_peft_model(policy.base_model, LoraConfig(r=4, target_modules=targets))
    generator = torch.Generator().manual_seed(0)
    for key, value in model.named_parameters():
        if "lora_B" in key:
            value.data.copy_(torch.randn(value.shape, generator=generator))
    return Policy(model.eval(), policy.processor, policy.family, ModelRef("tiny", adapter="made here"))


def texts(batch: PromptBatch) -> list[str]:
    return [answer.text for answer in batch.generate(GREEDY)]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("llava_next", ["q_proj", "v_proj"]),
        ("llava_next", "all-linear"),
        ("qwen2_5_vl", ["qkv", "v_proj"]),
    ],
)
def test_an_adapter_that_changes_the_tower_sees_by_its_own(name: str, targets: list[str] | str) -> None:
    policy = adapted(name, targets)
    assert not VisionTower(policy).is_supported
    requests = about(picture(0), picture(1))
    asked = PromptBatch(policy, requests, reuse_features=True)
    with policy.without_adapter():
        base = texts(asked)
        assert base == generate(policy, requests, GREEDY)
    assert texts(asked) == generate(policy, requests, GREEDY) != base


def test_an_adapter_of_the_language_model_leaves_it_as_it_is() -> None:
    policy = adapted("llava_next", r".*language_model.*\.(?:q|v)_proj")
    assert VisionTower(policy).is_supported


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "internvl"])
def test_a_family_whose_projector_nobody_knows_runs_its_tower(name: str) -> None:
    known = tiny(name)
    policy = Policy(known.base_model, known.processor, find_family("some_new_type", "tiny"), ModelRef("tiny"))
    assert policy.family.projector == ""
    assert not VisionTower(policy).is_supported
    requests = about(picture(0))
    asked = PromptBatch(policy, requests, reuse_features=True)
    expected = generate(known, requests, GREEDY)
    assert texts(asked) == texts(asked) == expected
    shared = SharedForward(policy)
    assert not shared.has_features
    assert shared.refusal(batch_of(policy)) is None
    with shared.only_tails([batch_of(policy)]):
        first = policy.base_model.base_model().last_hidden_state
        assert torch.equal(first, policy.base_model.base_model().last_hidden_state)


def inputs_of(policy: Policy) -> dict[str, Any]:
    batch = batch_of(policy)
    return {name: value[: len(value) // 2] for name, value in batch.items() if name != "completion_mask"}


def test_forwards_of_others_are_put_back() -> None:
    """accelerate's hooks are forwards of instances too."""
    policy = tiny("llava_next")
    inputs, tower = inputs_of(policy), VisionTower(policy)
    ran: list[int] = []
    layer = tower._layers()[0]
    own = layer.forward

    def hooked(*args: Any, **named: Any) -> Any:
        ran.append(1)
        return own(*args, **named)

    layer.forward = hooked
    with torch.no_grad():
        with tower.record() as features:
            expected = decoder_inputs(policy, inputs)
        with tower.replay([features]):
            got = decoder_inputs(policy, inputs)
    assert len(ran) == 1
    assert layer.forward is hooked
    assert "forward" not in tower._layers()[1].__dict__
    assert all(torch.equal(one.embeds, other.embeds) for one, other in zip(got, expected, strict=True))


def test_features_that_do_not_fit_are_refused() -> None:
    policy = tiny("llava_next")
    inputs, tower = inputs_of(policy), VisionTower(policy)
    with torch.no_grad():
        with tower.record() as features:
            decoder_inputs(policy, inputs)
        for wrong in ([features[0][:-1]], [features[0][:, :-1]], [features[0], features[0]], []):
            with pytest.raises(FeatureMismatch), tower.replay([wrong]):
                decoder_inputs(policy, inputs)
        with tower.record() as again:
            decoder_inputs(policy, inputs)
    assert torch.equal(again[0], features[0])


def test_a_wrong_row_of_the_family_table_turns_sharing_off() -> None:
    """The second run of a batch is compared too: a module that is no door gives back what it was given."""
    policy = tiny("qwen2_5_vl")
    policy.family = replace(policy.family, projector="patch_embed")
    assert "differ" in str(SharedForward(policy).refusal(batch_of(policy)))
