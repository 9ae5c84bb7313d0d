"""What intervals are over, as a sentence, the same on screens, in pages and in cards: so many images, and whether that
is too few."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

FEW = 30
"""Images below which a bootstrap interval is not to be relied on: its resamples are too much alike."""
PAIRED = "paired by image"
"""How two models are compared: on the same resamples of images, whatever a metric counts in them."""


class Counted(Protocol):
    """A metric, as results or cards have it."""

    @property
    def benchmark(self) -> str: ...
    @property
    def images(self) -> int:
        """How many were drawn; 0 where a run did not record it."""
        ...

    @property
    def unit(self) -> str:
        """What they are called (`mmpref.bench.benchmark.Benchmark.unit`)."""
        ...


def intervals_over(metrics: Iterable[Counted]) -> str:
    """How many images the intervals of each benchmark are over, of its metric that is over most; "" where no run has
    recorded it."""
    counts: dict[str, int] = {}
    units: dict[str, str] = {}
    for metric in metrics:
        if metric.images:
            counts[metric.benchmark] = max(counts.get(metric.benchmark, 0), metric.images)
            units[metric.benchmark] = metric.unit
    if not counts:
        return ""
    shown = ", ".join(f"{name} {count:,} {units[name]}" for name, count in counts.items())
    few = ", ".join(name for name, count in counts.items() if count < FEW)
    warning = f" Over fewer than {FEW} ({few}) an interval is not to be relied on." if few else ""
    return f"Intervals are over images, each drawn with all that was asked about it: {shown}.{warning}"
