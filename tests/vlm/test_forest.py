"""Positions and masks of a batch in vectors are those that are written out row by row, padded and packed."""

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
    embeds = torch.randn(size, 4)
    return EncodedPrompt(embeds, positions, torch.arange(size) < 2, torch.arange(size), (), allowed)


def prompts_of(axes: int, both_ways: str | None = None) -> list[EncodedPrompt]:
    return [
        prompt_of(size, axes, None if both_ways is None else {both_ways: torch.ones(size, size, dtype=torch.bool)})
        for size in PROMPTS
    ]


def row_by_row(prompt: EncodedPrompt, tails: tuple[int, ...]) -> tuple[torch.Tensor, dict[str, Any]]:
    """Positions and masks of one row, without padding."""
    begin = len(prompt.embeds)
    steps = torch.cat([torch.arange(tail) for tail in tails])
    branch = torch.cat([torch.full((tail,), number) for number, tail in enumerate(tails)])
    branch = torch.cat([branch.new_full((begin,), -1), branch])
    order = torch.cat([prompt.order, begin + steps])
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
    return torch.cat([prompt.positions, prompt.positions[:, -1:] + 1 + steps], 1), masks


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("both_ways", [None, "", "sliding_attention"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_is_its_rows(axes: int, both_ways: str | None, packed: bool) -> None:
    prompts = prompts_of(axes, both_ways)
    forest = Forest(prompts, TAILS, packed=packed, multiple=16)
    assert tuple(forest.valid.shape) == ((1, 48) if packed else (3, 15))
    masks, last = forest.masks(KINDS), forest.masks(KINDS, queries_from=8)
    texts = torch.randn(sum(map(sum, TAILS)), 4)
    embeds, text = forest.embeds(texts), 0
    seen = {kind: torch.zeros_like(mask) for kind, mask in masks.items()}
    begin = 0
    for row, (prompt, tails) in enumerate(zip(prompts, TAILS, strict=True)):
        expected, expected_masks = row_by_row(prompt, tails)
        size, length = len(prompt.embeds), sum(tails)
        slots = torch.arange(size + length) + (begin if packed else (torch.arange(size + length) >= size) * (8 - size))
        begin, sequence = begin + size + length, 0 if packed else row
        assert forest.valid[sequence, slots].all()
        assert torch.equal(forest.positions[:, sequence, slots], expected)
        assert torch.equal(embeds[sequence, slots], torch.cat([prompt.embeds, texts[text : text + length]]))
        assert torch.equal(forest.is_image()[sequence, slots], torch.arange(size + length) < 2)
        text += length
        for kind, mask in expected_masks.items():
            seen[kind][sequence, slots[:, None], slots] = mask
        tail_texts = torch.cat(forest.split(embeds)[row])
        assert torch.equal(tail_texts, embeds[sequence, slots[size:]])
        assert [len(tail) for tail in forest.split(embeds)[row]] == list(tails)
    valid = forest.valid
    assert valid.sum() == sum(PROMPTS) + sum(map(sum, TAILS))
    assert (embeds[~valid] == 0).all()
    assert forest.is_image().sum() == 6
    for kind, mask in masks.items():
        assert torch.equal(mask & valid[:, :, None], seen[kind])  # of queries that are no padding
        assert mask.any(2).all()  # what sees nothing has no softmax
        assert torch.equal(last[kind], mask[:, 8:])


def test_a_packed_batch_as_sequences_is_its_mask() -> None:
    """In every sequence the queries are the last keys, and see what stands before them."""
    forest = Forest(prompts_of(1), TAILS, packed=True)
    sequences = forest.sequences()
    size = forest.valid.shape[1]
    seen = torch.zeros(size, size, dtype=torch.bool)
    starts = zip(*(ends.tolist() for ends in (sequences.query_starts, sequences.key_starts)), strict=True)
    (query, key), longest = next(starts), [0, 0]
    for next_query, next_key in starts:
        queries, keys = torch.arange(query, next_query), sequences.keys[key:next_key]
        assert torch.equal(keys[len(keys) - len(queries) :], queries)
        seen[queries[:, None], keys] = torch.ones(len(queries), len(keys)).bool().tril(len(keys) - len(queries))
        longest = [max(longest[0], len(queries)), max(longest[1], len(keys))]
        query, key = next_query, next_key
    assert query == size
    assert torch.equal(seen, forest.masks({"full_attention": None})["full_attention"][0])
    assert longest == [sequences.longest_query, sequences.longest_key]
