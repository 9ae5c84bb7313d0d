"""Which tokens of a pair only one of its answers has, and weights of tokens by that."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairTokens

_SHARED_RUN = 3
"""Tokens that answers must have in common in a row to count as shared."""


def segment_weights(tokens: PairTokens, weight: float) -> torch.Tensor:
    """The weights [2B, T] of tokens: `weight` outside of the runs that chosen and rejected answer share, 1 in them."""
    weights = tokens.mask.float() * weight
    lengths, half = tokens.mask.sum(1).tolist(), len(tokens.mask) // 2
    for row in range(half):
        chosen, rejected = (tokens.ids[place, : lengths[place]].tolist() for place in (row, row + half))
        matcher = difflib.SequenceMatcher[int](None, chosen, rejected, autojunk=False)
        for block in matcher.get_matching_blocks():
            if block.size >= _SHARED_RUN or block.a == block.b == 0:  # theirs goes on from the prompt
                weights[row, block.a : block.a + block.size] = 1
                weights[row + half, block.b : block.b + block.size] = 1
    return weights
