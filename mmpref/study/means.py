"""Means of what runs have, as a study makes all its values: over bases, of each the mean over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable


def mean_over_bases(values: Iterable[tuple[int, float]]) -> float | None:
    """The mean of numbers by base; None of none.

    Args:
        values: of each run its base and its number.
    """
    of_bases: dict[int, list[float]] = {}
    for base, value in values:
        of_bases.setdefault(base, []).append(value)
    return statistics.fmean(map(statistics.fmean, of_bases.values())) if of_bases else None
