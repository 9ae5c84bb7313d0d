"""Counts by name, which add up over blocks, batches and processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


def sum_counts(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)  # floats add up as well
    return dict(total)


class Counts:
    """Counts that are added up until they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}

    def add(self, counts: Mapping[str, float]) -> None:
        self._sums = sum_counts([self._sums, counts])

    def take(self) -> dict[str, float]:
        """The sums since they were last taken."""
        sums, self._sums = self._sums, {}
        return sums
