"""Every kernel attends to the same, and which one does is said in one place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmpref.errors import UsageError
from mmpref.types import Message
from mmpref.vlm import kernels
from mmpref.vlm.attention import Attention
from mmpref.vlm.encode import encode
from mmpref.vlm.kernels import FLEX_CELLS, OWN, Choice, Place, choose, refuse
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.cpu_kernels import on_cpu, policy_with
from tests.vlm.test_families import half_kept, picture
from tests.vlm.test_shared_prefix_forward import SHARING, batch_of, outcome, trained
from tests.vlm.tiny import tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BOTH_WAYS = ("gemma3", "gemma4")
"""Images see themselves both ways: FlashAttention cannot."""


def chosen(asked: str, *, needs_mask: bool = False, cells: int = 1, **place: Any) -> Choice:
    where = Place(**{"device": GPU, "dtype": torch.bfloat16, **place})
    return choose(asked, where, needs_mask=needs_mask, cells=cells)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention and triton are."""
    monkeypatch.setattr(kernels, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda _: True)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("asked", "changes", "expected"),
    [
        ("auto", {"device": CPU, "cells": FLEX_CELLS}, "sdpa"),
        ("auto", {}, "flash"),
        ("auto", {"attends": OWN}, "flash"),
        ("auto", {"dtype": torch.float32}, "sdpa"),
        ("auto", {"dtype": torch.float32, "cells": FLEX_CELLS}, "flex"),
        ("auto", {"needs_mask": True}, "sdpa"),
        ("auto", {"needs_mask": True, "cells": FLEX_CELLS}, "flex"),
        ("auto", {"needs_mask": True, "cells": FLEX_CELLS, "has_dropout": True}, "sdpa"),
        ("auto", {"needs_mask": True, "cells": FLEX_CELLS, "is_spread": True}, "sdpa"),
        ("auto", {"attends": "eager", "cells": FLEX_CELLS}, "eager"),
        ("sdpa", {"cells": FLEX_CELLS}, "sdpa"),
        ("flash", {}, "flash"),
        ("flash", {"needs_mask": True}, "sdpa"),
        ("flex", {}, "flex"),
        ("flex", {"attends": "eager"}, "eager"),
    ],
)
def test_the_choice_goes_by_device_precision_and_size(asked: str, changes: dict[str, Any], expected: str) -> None:
    choice = chosen(asked, **changes)
    assert choice.kernel == expected
    assert choice.reason


def test_without_flash_attention_large_masks_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda _: True)
    assert chosen("auto").kernel == "sdpa"
    assert chosen("auto", cells=FLEX_CELLS) == ("flex", "masks would have 17 million cells")
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda _: None)
    assert chosen("auto", cells=FLEX_CELLS) == ("sdpa", "FlexAttention needs triton")


@pytest.mark.parametrize(
    ("asked", "device", "message", "hint"),
    [
        ("flash", CPU, "attn=flash: FlashAttention needs a CUDA GPU, and the model is on a cpu", "Leave attn out"),
        ("flash", GPU, "attn=flash: FlashAttention is not installed", "pip install flash-attn"),
        ("flex", CPU, "attn=flex: FlexAttention has no backward pass on a cpu", "Leave attn out"),
    ],
)
def test_a_kernel_that_cannot_be_had_is_refused(asked: str, device: torch.device, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        refuse(asked, Place(device))
    assert hint in str(caught.value.hint)


@pytest.mark.usefixtures("installed")
def test_flash_attention_is_refused_in_full_precision() -> None:
    with pytest.raises(UsageError, match="computes in bf16 or fp16, and the model is in float32"):
        refuse("flash", Place(GPU, torch.float32))
    refuse("flash", Place(GPU, torch.bfloat16))
    refuse("auto", Place(CPU, torch.float32))


KINDS = ("llava_next", "llava_mistral_sliding", "qwen2_vl", "qwen3_vl", "gemma3", "aya_vision")
"""Causal, with a window, with positions of three axes, with features for early layers, with images that see themselves
both ways, with windows in some layers."""


@pytest.mark.parametrize("attn", ["flex", "flash"])
@pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.long) for name in SHARING]
)
def test_packed_rows_have_the_hidden_states_and_gradients_of_the_model(name: str, attn: str) -> None:
    policy = policy_with(tiny(name), attn)
    assert trained(policy)
    batch = batch_of(policy)
    inputs = {key: value for key, value in batch.items() if key != "completion_mask"}
    backbone = policy.base_model.base_model
    expected, gradients = outcome(policy, backbone(**inputs).last_hidden_state, batch["completion_mask"])
    eager = policy.decoder.config._attn_implementation == "eager"
    with on_cpu():
        shared = SharedForward(policy)
        with shared.only_tails([batch]) as [cut]:
            got, ours = outcome(policy, backbone().last_hidden_state, cut["completion_mask"])
    kernel = "eager" if eager else "sdpa" if attn == "flash" and name in BOTH_WAYS else attn
    assert list(shared.kernels) == [kernel]
    assert (got - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert ours.keys() == gradients.keys()
    for parameter, gradient in gradients.items():
        assert (ours[parameter] - gradient).norm() <= max(1e-5 * gradient.norm(), 1e-7), parameter


@pytest.mark.parametrize("name", ["llava_mistral_sliding", "gemma3", "aya_vision"])
def test_dropped_prompts_are_seen_in_blocks_as_under_a_mask(name: str) -> None:
    """Windows count in the whole prompt, and images see themselves both ways."""
    policy = tiny(name)
    prompts = [policy.prompter.prepare([Message("user", "describe the picture .")], [picture(seed)]) for seed in (0, 1)]
    dropped = [prompt.drop(half_kept(prompt, seed), "original") for seed, prompt in enumerate(encode(policy, prompts))]
    texts = [(10, 11, 12, 13), (14,)]
    with torch.inference_mode(), on_cpu():
        expected, _ = Attention(policy).prefill(dropped, texts)
        got, filled = Attention(policy_with(policy, "flex")).prefill(dropped, texts)
        assert policy.decoder.config._attn_implementation == OWN
    for row, (prompt, text) in enumerate(zip(dropped, texts, strict=True)):
        length = len(prompt.embeds) + len(text)
        assert (got[row, :length] - expected[row, :length]).abs().max() <= 1e-5 * expected.abs().max()
        assert filled.cache.layers[0].keys[row].shape[1] == got.shape[1]
