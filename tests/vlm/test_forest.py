"""Positions and masks of a batch in vectors are those that are written out row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmpref.vlm.encode import EncodedPrompt
from mmpref.vlm.forest import Forest

PROMPTS = (5, 8, 3)
TAILS = ((4, 2), (1, 3), (2, 5))
KINDS: dict[str, int | None] = {"full_attention": None, "sliding_attention": 4}


def prompt_of(size: int, axes: int, allowed: Any = None) -> EncodedPrompt:
    positions = torch.arange(size).expand(axes, -1) + 2 * torch.arange(axes)[:, None]
    return EncodedPrompt(torch.zeros(size, 1), positions, torch.arange(size) < 2, torch.arange(size), (), allowed)


def row_by_row(prompt: EncodedPrompt, tails: tuple[int, ...], before: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """Positions and masks of one row, as long as its own tails."""
    begin = len(prompt.embeds)
    steps = torch.cat([torch.arange(tail) for tail in tails])
    branch = torch.cat([torch.full((tail,), number) for number, tail in enumerate(tails)])
    branch = torch.cat([branch.new_full((begin,), -1), branch.new_full((before - begin,), -2), branch])
    order = torch.cat([prompt.order, prompt.order.new_zeros(before - begin), begin + steps])
    visible = (branch == -1)[None, :] | (branch[:, None] == branch[None, :])
    visible &= torch.ones_like(visible).tril()
    masks = {}
    for kind, window in KINDS.items():
        mask = visible if window is None else visible & (order[:, None] - order[None, :] < window)
        own = (prompt.allowed or {}).get(kind, (prompt.allowed or {}).get(""))
        if own is not None:
            mask = mask.clone()
            mask[:begin, :begin] = own
        masks[kind] = mask
    between = prompt.positions.new_zeros(len(prompt.positions), before - begin)
    return torch.cat([prompt.positions, between, prompt.positions[:, -1:] + 1 + steps], 1), masks


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("both_ways", [None, "", "sliding_attention"])
def test_a_batch_is_its_rows(axes: int, both_ways: str | None) -> None:
    prompts = [
        prompt_of(size, axes, None if both_ways is None else {both_ways: torch.ones(size, size, dtype=torch.bool)})
        for size in PROMPTS
    ]
    forest = Forest(PROMPTS, TAILS, torch.device("cpu"))
    assert (forest.prompt_size, forest.size) == (8, 15)
    positions = forest.positions([prompt.positions for prompt in prompts])
    masks = forest.masks(KINDS, prompts)
    last = forest.masks(KINDS, prompts, queries_from=8)
    for row, (prompt, tails) in enumerate(zip(prompts, TAILS, strict=True)):
        expected, expected_masks = row_by_row(prompt, tails, 8)
        size = expected.shape[1]
        assert torch.equal(positions[:, row, :size], expected)
        for kind, mask in expected_masks.items():
            assert torch.equal(masks[kind][row, :size, :size], mask)
            assert not masks[kind][row, :size, size:].any()
            assert masks[kind][row].any(1).all()  # what sees nothing has no softmax
            assert torch.equal(last[kind][row], masks[kind][row, 8:])
    is_image = forest.padded([prompt.is_image for prompt in prompts])
    assert is_image.shape == (3, 15)
    assert is_image.sum() == 6
