"""What the paper calls a number, and which one of ours it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One of our numbers in the paper's units.

    Args:
        metric: ``benchmark metric``, ``benchmark metric part``, or ``data FACT`` for a fact of the pairs.
        split: name of the evaluation that it is of; by default the plan's first one that a row has it in.
        times: factor from ours to the paper's, such as 100 for a share that is printed in per cent.
        digits: behind the point.
    """

    metric: str
    times: float = 1.0
    digits: int = 2
    split: str | None = None

    @property
    def fact(self) -> str:
        """The fact of the pairs; empty of a metric."""
        kind, _, name = self.metric.partition(" ")
        return name if kind == "data" else ""
