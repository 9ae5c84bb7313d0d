"""What intervals are over, as a sentence, the same on screens, in pages and in cards: so many images, and whether that
is too few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def intervals_over(*groups: Iterable[Counted]) -> str:
    """How many images the intervals of each benchmark are over; "" where no run has recorded it.

    Args:
        groups: metrics whose intervals are over the same images, such as those of one difference; the one that is over
            most counts.
    """
    counts: dict[str, list[int]] = {}
    units: dict[str, str] = {}
    for group in groups:
        most: dict[str, int] = {}
        for metric in group:
            if metric.images:
                most[metric.benchmark] = max(most.get(metric.benchmark, 0), metric.images)
                units[metric.benchmark] = metric.unit
        for benchmark, images in most.items():
            counts.setdefault(benchmark, []).append(images)
    if not counts:
        return ""
    shown = ", ".join(f"{name} {_range(of)} {units[name]}" for name, of in counts.items())
    few = ", ".join(name for name, of in counts.items() if min(of) < FEW)
    warning = f" Over fewer than {FEW} ({few}) an interval is not to be relied on." if few else ""
    return f"Intervals are over images, each drawn with all that was asked about it: {shown}.{warning}"


def _range(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
