"""How a row's settings are chosen: a grid on dev, and one rule for all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.errors import UsageError

DEV = "dev"
"""The evaluation that a grid chooses by, unless it names another; no measured run is evaluated on it."""


@dataclass(frozen=True)
class Grid:
    """How a row's settings are chosen, by one rule for all rows, on one base and seed.

    Of the points whose ``keep`` is within ``within`` of the base's, the one with the best ``best`` is taken; where
    there is none, the one with the best ``keep``, which is marked. Which of two values is better, the metric says.

    Args:
        search: key of the train section (dotted) -> values; a point for each combination.
        best, keep: metrics of the dev evaluation: ``benchmark metric``, or ``benchmark metric part``.
        within: in the units of the metric.
        split: name of the evaluation.
        base, seed: where the points are trained.
    """

    search: dict[str, Any]
    best: str
    keep: str | None = None
    within: float = 0.02
    split: str = DEV
    base: int = 0
    seed: int = 0

    def check(self, where: str, bases: Sequence[int], seeds: int) -> None:
        """See that it can be searched.

        Args:
            where: it stands, for messages.
            bases, seeds: of its row.

        Raises:
            UsageError: no list of values, no metric, a base or a seed that the row does not have.
        """
        for key, values in self.search.items():
            if not isinstance(values, list | tuple) or not values:
                raise UsageError(f"{where}.grid.search.{key} is {values!r}; it must be a list of values.")
        if not self.search:
            raise UsageError(f"{where}.grid.search is empty.")
        for metric in filter(None, (self.best, self.keep)):
            if len(metric.split()) not in (2, 3):
                raise UsageError(
                    f"{where}.grid: {metric!r} is no metric.", "Write 'benchmark metric', such as chair recall."
                )
        if self.base not in bases or not 0 <= self.seed < seeds:
            raise UsageError(f"{where}.grid is on base {self.base} and seed {self.seed}, which the row does not have.")
