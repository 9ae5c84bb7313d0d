"""Inner loops never wait for the device, but where a step's tokens are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mmpref.types import Message
from mmpref.vlm.attention import Attention
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.generate import decode
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from mmpref.vlm.shared_prefix_pool import SharedPrefixPool
from tests.vlm.cpu_kernels import on_cpu, policy_with
from tests.vlm.test_families import picture, policy_of
from tests.vlm.test_shared_prefix_forward import batch_of
from tests.vlm.tiny import tiny
from tests.vlm.waiting import Waits, counted, operations, refused

FAMILIES = pytest.mark.parametrize("name", ["llava_next", "llava_mistral_sliding", "qwen2_vl", "gemma3"])
"""Causal, with a window, with positions of three axes, with images that see themselves both ways. (Qwen3-VL's decoder
itself counts out a mask, to add features to the image's rows.)"""


def branches_of(policy: Policy) -> list[Branch]:
    prompts = [policy.prompter.prepare([Message("user", "describe the picture .")], [picture(seed)]) for seed in (0, 1)]
    seen = [prompt.drop(torch.arange(prompt.image_tokens) % 3 == 0, "original") for prompt in encode(policy, prompts)]
    prefixes = [(), (10, 11), (10, 12, 13), (14,)]
    return [Branch(prompt, prefix, (number,)) for number, prompt in enumerate(seen) for prefix in prefixes]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.tolist(),
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: int(x.sum()),
        lambda x: x[x > 1],
        lambda x: x.masked_fill_(x > 1, 0)[x == 0].zero_(),
        lambda x: (x > 1).nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.numpy(),
        lambda x: list(range(x[0])),
        lambda x: x.to("cpu"),
        lambda x: x.to(device="cpu"),
        lambda x: np.asarray(x),
        lambda x: f"{x}",
        lambda x: torch.tensor([x[0], x[1]]),
        lambda x: torch.allclose(x, x),
        lambda x: x.unique(),
        lambda x: x.unique_consecutive(),
        lambda x: x.bincount(),
        lambda x: x.repeat_interleave(x),
    ],
)
def test_what_waits_is_noticed(read: Callable[[torch.Tensor], Any]) -> None:
    values = torch.arange(4)
    with refused(), pytest.raises(Waits):
        read(values)


def test_what_does_not_wait_may_be_done() -> None:
    uploads = [0]
    with refused(uploads):
        values = torch.arange(4) * torch.tensor([1, 2, 3, 4])
        values[torch.tensor([1, 2])] = 0
        values = torch.where(values > 1, values, 0).masked_fill(values == 0, 7)
    assert values.tolist() == [7, 7, 7, 12]
    assert uploads == [2]


@FAMILIES
@pytest.mark.parametrize("greedy", [True, False])
def test_a_step_of_decoding_waits_nowhere_before_its_tokens_are_read(
    name: str, greedy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(name)
    decoding = Decoding(6, greedy, 1.0 if greedy else 0.7, repetition_penalty=1.0 if greedy else 1.2)
    expected = decode(policy, branches_of(policy), decoding, width=5)
    uploads, steps = [0], [0]
    run_next, choose = SharedPrefixPool._run_next, SharedPrefixPool._choose

    def run(self: SharedPrefixPool) -> torch.Tensor:
        steps[0] += 1
        with refused(uploads):
            return run_next(self)

    def chosen(self: SharedPrefixPool, hidden: torch.Tensor, rows: Any) -> torch.Tensor:
        with refused(uploads):
            return choose(self, hidden, rows)

    monkeypatch.setattr(SharedPrefixPool, "_run_next", run)
    monkeypatch.setattr(SharedPrefixPool, "_choose", chosen)
    assert decode(policy, branches_of(policy), decoding, width=5) == expected
    assert steps[0] >= 5
    # Greedy steps send the device nothing, others the draws and the histories that a penalty counts.
    assert uploads[0] == 0 if greedy else 0 < uploads[0] <= 2 * (steps[0] + len(expected))


@FAMILIES
def test_what_a_try_shows_of_a_prompt_is_cut_out_without_waiting(name: str) -> None:
    policy = policy_of(name)
    [prompt] = encode(policy, [policy.prompter.prepare([Message("user", "w1 .")], [picture()])])
    kept = torch.arange(prompt.image_tokens) % 3 == 0
    assert len(prompt.first(len(prompt.embeds) - 1).text_ids) == len(prompt.text_ids) - 1
    expected = _dropped_by_mask(prompt, kept)
    got = prompt.drop(kept, "original")
    assert prompt.is_image.device.type == "cpu"  # which image tokens there are is the host's to know
    for attribute, value in expected.items():
        assert torch.equal(getattr(got, attribute), value)
    assert got.text_ids == prompt.text_ids
    assert len(prompt.text_ids) == int((~prompt.is_image).sum())


def _dropped_by_mask(prompt: EncodedPrompt, kept: torch.Tensor) -> dict[str, torch.Tensor]:
    keep = torch.ones_like(prompt.is_image)
    keep[prompt.is_image] = kept
    return {
        "embeds": prompt.embeds[keep],
        "positions": prompt.positions[:, keep],
        "is_image": prompt.is_image[keep],
        "order": prompt.order[keep],
    }


@FAMILIES
@pytest.mark.parametrize("attn", ["sdpa", "flash", "flex"])
def test_the_shared_forward_waits_nowhere_behind_its_prompts(
    name: str, attn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_cpu():
        policy = policy_with(tiny(name), attn)
        shared, batch = SharedForward(policy), batch_of(policy)
        backbone = policy.base_model.base_model
        run, runs = shared._run_behind, [0]

        def watched(*given: Any) -> Any:
            runs[0] += 1
            with refused():
                return run(*given)

        with shared.only_tails([batch]), torch.no_grad():
            expected = backbone().last_hidden_state
        monkeypatch.setattr(shared, "_run_behind", watched)
        with shared.only_tails([batch]), torch.no_grad():
            assert torch.equal(backbone().last_hidden_state, expected)
    assert runs == [1]
    assert list(shared.kernels) == ["sdpa" if attn == "flash" and name == "gemma3" else attn]


@FAMILIES
def test_decoding_reads_the_tokens_of_a_step_and_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that enter, are prefilled, extended, moved and leave included; but at a prefill under a mask of ones
    transformers looks once whether it hides anything."""
    policy, decoding = policy_of(name), Decoding(6)
    expected = decode(policy, branches_of(policy), decoding, width=5)  # the first time a policy looks at its own logits
    branches, calls = branches_of(policy), {"_take": 0, "_admit": 0}

    def counting(method: str) -> Callable[..., Any]:
        own = getattr(SharedPrefixPool, method)

        def call(self: SharedPrefixPool, *given: Any) -> Any:
            calls[method] += 1
            return own(self, *given)

        return call

    for method in calls:
        monkeypatch.setattr(SharedPrefixPool, method, counting(method))
    with counted() as reads:
        assert decode(policy, branches, decoding, width=5) == expected
    looks = reads.count("__bool__")
    assert [read for read in reads if read != "__bool__"] == ["tolist"] * calls["_take"]
    assert looks <= calls["_admit"] < calls["_take"] // 2


@pytest.fixture
def masks_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often masks were made for a run of the decoder."""
    made, as_4d = [0], Attention._as_4d

    def counting(self: Attention, *given: Any) -> Any:
        made[0] += 1
        return as_4d(self, *given)

    monkeypatch.setattr(Attention, "_as_4d", counting)
    return made


@FAMILIES
def test_masks_are_made_once_a_step_for_all_rows_and_layers(
    name: str, masks_made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, run_next, by_step = policy_of(name), SharedPrefixPool._run_next, []

    def run(self: SharedPrefixPool) -> torch.Tensor:
        masks_made[0] = 0
        hidden = run_next(self)
        by_step.append(masks_made[0])
        return hidden

    monkeypatch.setattr(SharedPrefixPool, "_run_next", run)
    decode(policy, branches_of(policy), Decoding(6), width=5)
    assert set(by_step) == {1}


@FAMILIES
def test_a_step_of_many_rows_is_as_many_operations_as_one_of_two(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks, positions and caches are of all rows in one go, never row by row."""
    policy, run_next, by_rows = policy_of(name), SharedPrefixPool._run_next, dict[int, set[int]]()

    def run(self: SharedPrefixPool) -> torch.Tensor:
        with operations() as done:
            hidden = run_next(self)
        by_rows.setdefault(len(self._rows), set()).add(done[0])
        return hidden

    monkeypatch.setattr(SharedPrefixPool, "_run_next", run)
    for width in (2, 8):
        decode(policy, branches_of(policy), Decoding(6), width=width)
    assert {2, 8} <= by_rows.keys()
    assert min(by_rows[8]) == min(by_rows[2])


@FAMILIES
def test_masks_of_the_shared_forward_are_made_once_a_batch(name: str, masks_made: list[int]) -> None:
    policy = tiny(name)
    shared, batch = SharedForward(policy), batch_of(policy)
    with shared.only_tails([batch]), torch.no_grad():
        policy.base_model.base_model()
    assert masks_made == [1]
