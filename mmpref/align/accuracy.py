"""The share of pairs that are ranked right. Ties count half, as in the area under a ROC curve: before the first update
all pairs are ties, which is neither right nor wrong, and chance is 0.5 from the first row of a log on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def ranked_right(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Of each pair [B], by the values of its answers: 1 where the chosen one's is higher, 0.5 where they are equal."""
    return (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
