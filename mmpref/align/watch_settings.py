"""What may be watched while training, apart from the watching: reading and checking settings loads no transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmpref.errors import UsageError

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

Evaluator = Callable[["Policy"], Mapping[str, tuple[float, bool | None]]]
"""Scores a policy as it is: a value by name, and whether more of it is better."""
BEST = "best.safetensors"
"""State: the adapter's weights at the best step so far."""


@dataclass(frozen=True)
class WatchSettings:
    """What is watched.

    Args:
        benchmarks: names.
        benchmark: settings of each, as for ``mmpref evaluate``.
        every: steps between evaluations; the last step is evaluated too.
        limit: first samples of each benchmark.
        split: of all benchmarks, instead of their own. Choosing by a split makes it useless for reporting.
        best: ``benchmark/metric``: the adapter of the step where it is best is what the run keeps.
        patience: stop after so many evaluations in a row without a new best.
    """

    benchmarks: tuple[str, ...] = ()
    benchmark: dict[str, Any] = field(default_factory=dict)
    every: int = 100
    limit: int | None = None
    split: str | None = None
    best: str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or (self.patience is not None and self.patience < 1):
            raise UsageError("watch.every and watch.patience must be at least 1.")
        if (self.best or self.patience) and not self.benchmarks:
            raise UsageError("watch.best and watch.patience need a benchmark.", "Name one with --eval-benchmark.")
        if self.patience and not self.best:
            raise UsageError("watch.patience needs watch.best.", "Name a metric: --best pope/accuracy")
