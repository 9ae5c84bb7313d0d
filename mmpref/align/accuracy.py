"""The share of pairs that are ranked right. Ties count half, as in the area under a ROC curve: before the first update
all pairs are ties, which is neither right nor wrong, and chance is 0.5 from the first row of a log on. Of what TRL has
counted, that is known of batches that are all ties; in others it has them as wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def ranked_right(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Of each pair [B], by the values of its answers: 1 where the chosen one's is higher, 0.5 where they are equal."""
    return (chosen > rejected).float() + 0.5 * (chosen == rejected).float()


def count_ties(metrics: Mapping[str, list[float]]) -> None:
    """Make TRL's last accuracy of a batch, for which a tie is wrong, 0.5 where the whole batch is tied: where no margin
    is above 0 and their mean is 0, all are."""
    accuracies, margins = metrics.get("rewards/accuracies"), metrics.get("rewards/margins")
    if accuracies and margins and accuracies[-1] == margins[-1] == 0:
        accuracies[-1] = 0.5
