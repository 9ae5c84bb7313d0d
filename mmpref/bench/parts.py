"""Benchmarks in parts: counts and metrics of each part, and of ``all``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmpref.bench.benchmark import CountKey, Metric, Score, rate
from mmpref.run.results import ALL


def part_counts(counts: Mapping[str, float], *parts: str) -> dict[CountKey | str, float]:
    """One sample's counts by name, for each of the parts that it is of."""
    return {CountKey(part, name): value for part in parts for name, value in counts.items()}


def parts_of(scores: Sequence[Score]) -> list[str]:
    """The parts that scores have counts of, sorted, but for ``all``."""
    return sorted({key.part for score in scores for key in score.counts if isinstance(key, CountKey)} - {ALL})


def part_rate(
    name: str,
    part: str,
    top: str,
    bottom: str = "n",
    higher_is_better: bool | None = True,
    *,
    scale: float = 1.0,
    binary: bool = False,
    headline: bool = False,
) -> Metric:
    """As `rate`, of two counts of the metric's own part."""
    keys = CountKey(part, top), CountKey(part, bottom)
    return rate(name, part, *keys, higher_is_better, scale=scale, binary=binary, headline=headline)
