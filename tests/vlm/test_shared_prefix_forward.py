"""The shared forward of training against the model's own on the same stacked rows: hidden states and gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.tiny import BUILDERS, tiny

ANSWERS = (("w1 w2 w3 w4 .", "w1 w2 w5 ."), ("w6 w7 .", "w8 w9 w10 w11 w12 ."), ("w3 w4 w5", "w3 w4 w5 w6 ."))
SIZES = ((24, 40), (40, 24), (24, 24))


def batch_of(policy: Policy) -> dict[str, Any]:
    """TRL's own batch of three pairs: different image sizes, answers that differ early and late."""
    rows = []
    for number, ((chosen, rejected), (height, width)) in enumerate(zip(ANSWERS, SIZES, strict=True)):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        question = "describe the picture ." + " w1" * number
        rows.append(
            {
                "images": [Image.fromarray(pixels)],
                "prompt": [{"role": "user", "content": question}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            }
        )
    return dict(DataCollatorForVisionPreference(policy.processor)(rows))


def trained(policy: Policy) -> dict[str, torch.nn.Parameter]:
    """Mark the decoder and the projector as trained, as mmpref does, and nothing else."""
    policy.model.requires_grad_(False)
    policy.decoder.requires_grad_(True)
    for name, module in policy.base_model.named_modules():
        if name.rpartition(".")[2] == policy.family.projector:
            module.requires_grad_(True)
    return {name: value for name, value in policy.model.named_parameters() if value.requires_grad}


def outcome(policy: Policy, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Hidden states of the answers' tokens, and the gradients of an uneven sum of them."""
    mask = mask.bool()
    # The token before the first of an answer predicts it.
    seen = hidden[mask | torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)]
    weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    policy.model.zero_grad()
    (seen * weights).sum().backward()
    trained = [(name, value) for name, value in policy.model.named_parameters() if value.requires_grad]
    return seen.detach(), {name: value.grad.clone() for name, value in trained if value.grad is not None}


SHARING = [name for name in BUILDERS if not name.startswith("paligemma") and name != "gemma4_per_layer"]
"""PaliGemma's processor wants an image for every text, so TRL itself cannot collate its pairs."""


@pytest.mark.parametrize("name", SHARING)
def test_hidden_states_and_gradients_are_those_of_the_model(name: str) -> None:
    policy = tiny(name)
    assert trained(policy)
    batch = batch_of(policy)
    inputs = {key: value for key, value in batch.items() if key != "completion_mask"}
    backbone = policy.base_model.base_model
    expected, gradients = outcome(policy, backbone(**inputs).last_hidden_state, batch["completion_mask"])
    shared = SharedForward(policy)
    assert shared.refusal(batch) is None
    with shared.only_tails([batch]) as [cut]:
        got, ours = outcome(policy, backbone().last_hidden_state, cut["completion_mask"])
    assert (got - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert ours.keys() == gradients.keys()
    for parameter, gradient in gradients.items():
        difference, size = (ours[parameter] - gradient).norm(), gradient.norm()
        assert difference <= max(1e-5 * size, 1e-7), parameter


def test_a_decoder_that_is_given_more_than_rows_is_refused() -> None:
    policy = tiny("gemma4_per_layer")
    reason = SharedForward(policy).refusal(batch_of(policy))
    assert reason is not None
    assert "per_layer_inputs" in reason


def test_a_family_that_cannot_share_is_refused() -> None:
    policy = tiny("llava")
    policy.family = dataclasses.replace(policy.family, shares_prefix=False)
    reason = SharedForward(policy).refusal({})
    assert reason is not None
    assert "depend on the answer" in reason


def test_wrong_sharing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedForward(policy := tiny("llava_next"))
    prompts = shared._encoded_prompts
    monkeypatch.setattr(shared, "_encoded_prompts", lambda begins: prompts(begins)[::-1])
    reason = shared.refusal(batch_of(policy))
    assert reason is not None
    assert "differ" in reason
