"""What the paper calls a number, and which one of ours it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One of our numbers in the paper's units.

    Args:
        metric: ``benchmark metric``, ``benchmark metric part``, or ``data FACT`` for a fact of the pairs.
        times: factor from ours to the paper's, such as 100 for a share that is printed in per cent.
        digits: behind the point.
    """

    metric: str
    times: float = 1.0
    digits: int = 2
