"""Every pair of an optimizer's step weighs the same, however the step is divided among micro-batches and processes.

Trainer takes a step's micro-batches for equally large, and so do its mean and TRL's of what is logged. They are not
where a source finds no pair for some rows, nor at the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.align.collator import SECOND_BATCH
from mmpref.distributed import gather_object, process_index

LOSS_SHARE = "share"
"""Of a batch: its `Share`."""

_TOKEN_MEANS = {
    "entropy": ("chosen", "rejected"),
    "logits/chosen": ("chosen",),
    "logits/rejected": ("rejected",),
    "mean_token_accuracy": ("chosen",),
}
"""What TRL logs as a mean over tokens, and of which answers."""


@dataclass(frozen=True)
class BatchCounts:
    """What there is in a micro-batch or in a step.

    Args:
        pairs: how many.
        chosen: tokens of their chosen answers.
        rejected: tokens of their rejected answers: of each pair's first ones, and of the second ones, if there are.
    """

    pairs: int = 0
    chosen: int = 0
    rejected: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> BatchCounts:
        """Of a batch as the collator makes it."""
        masks = [part["completion_mask"] for part in (batch, batch.get(SECOND_BATCH)) if part is not None]
        chosen, rejected = zip(*(mask.sum(1).chunk(2) for mask in masks), strict=True)
        return cls(len(chosen[0]), int(chosen[0].sum()), tuple(int(tokens.sum()) for tokens in rejected))

    def weight(self, name: str, place: int) -> int:
        """What a logged mean is over.

        Args:
            place: of the value among those of this name: 1 where it is of the second rejected answers.
        """
        if name not in _TOKEN_MEANS:
            return self.pairs
        tokens = {"chosen": self.chosen, "rejected": self.rejected[min(place, len(self.rejected) - 1)]}
        return sum(tokens[which] for which in _TOKEN_MEANS[name])


def _total(counts: Sequence[BatchCounts]) -> BatchCounts:
    rejected = [count.rejected for count in counts if count.pairs] or [(0,)]
    return BatchCounts(
        sum(count.pairs for count in counts),
        sum(count.chosen for count in counts),
        tuple(map(sum, zip(*rejected, strict=True))),
    )


@dataclass(frozen=True)
class LossShare:
    """A process's part of a micro-batch in its step.

    Args:
        of_processes: what each process has of the micro-batch.
        step: what all of them have of the step.
        is_last: the step ends with this micro-batch.
    """

    of_processes: tuple[BatchCounts, ...]
    step: BatchCounts
    is_last: bool

    @property
    def sizes(self) -> list[int]:
        """Pairs of each process."""
        return [counts.pairs for counts in self.of_processes]

    @property
    def total(self) -> BatchCounts:
        """What there is in the micro-batch."""
        return _total(self.of_processes)

    @property
    def pair_weight(self) -> float:
        """What a mean over its pairs is multiplied by: the mean over processes of the sum over the step's micro-batches
        is that over all pairs of the step."""
        return self._own.pairs * len(self.of_processes) / max(1, self.step.pairs)

    @property
    def token_weight(self) -> float:
        """The same for a mean over the tokens of its chosen answers."""
        return self._own.chosen * len(self.of_processes) / max(1, self.step.chosen)

    @property
    def _own(self) -> BatchCounts:
        return self.of_processes[process_index()]


def loss_shares(own: Sequence[BatchCounts]) -> list[LossShare]:
    """The shares of the micro-batches of a step, of which every process has as many; all of them must ask."""
    columns = list(zip(*gather_object(list(own)), strict=True))
    step = _total([counts for column in columns for counts in column])
    return [LossShare(column, step, number == len(columns)) for number, column in enumerate(columns, 1)]


class StepMeans:
    """What is logged of a step: means over its pairs, or over their tokens, of what was logged of its micro-batches."""

    def __init__(self) -> None:
        self._means: dict[tuple[str, int], tuple[float, int]] = {}

    def add(self, logged: Mapping[str, Sequence[float]], counts: BatchCounts) -> None:
        """Add what was logged of a micro-batch.

        Args:
            counts: what was in it, in all processes.
        """
        for name, values in logged.items():
            for place, value in enumerate(values):
                if more := counts.weight(name, place):
                    mean, weight = self._means.get((name, place), (value, 0))
                    # A running mean: of a step that is one micro-batch it is the value itself, to the last bit.
                    self._means[name, place] = (mean + (value - mean) * more / (weight + more), weight + more)

    def pop(self) -> list[tuple[str, float]]:
        """The step's values by their names, after which the next one begins."""
        means, self._means = self._means, {}
        return [(name, mean) for (name, _), (mean, _) in means.items()]
