"""From the counts that a ledger keeps to metrics, by the benchmarks' own rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import BENCHMARKS, CountKey, Metric, Score
from mmpref.recipes.resolve import load as load_recipe
from mmpref.recipes.resolve import merge
from mmpref.recipes.schema import build
from mmpref.run.results import Key
from mmpref.study.plan_types import Plan

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class CountSums(Mapping[CountKey | str, Any]):
    """Sums of counts by key, as metrics look them up; zeros where nothing was counted.

    Args:
        totals: float64 [1 + R, counts].
    """

    names: tuple[str, ...]
    totals: np.ndarray

    def __getitem__(self, key: CountKey | str) -> np.ndarray:
        if str(key) not in self.names:
            return self.totals[:, 0] * 0
        column: np.ndarray = self.totals[:, self.names.index(str(key))]
        return column

    def __iter__(self) -> Iterator[CountKey | str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def metrics_of(plan: Plan, split: str, benchmark: str, counts: Sequence[CountKey | str]) -> dict[Key, Metric]:
    """The metrics that a benchmark makes of counts, by key.

    Args:
        split: name of the evaluation, whose settings the benchmark has.
        benchmark: as results have it; of the image-blind control it is the benchmark's name and what was blind.
        counts: their keys.
    """
    section = merge(load_recipe(plan.recipe).get("evaluate") or {}, plan.evaluate[split])
    name = benchmark.partition("-blind")[0]
    entry = BENCHMARKS.get(name)
    settings = build(entry.settings, (section.get("benchmark") or {}).get(name) or {}, f"benchmark {name}")
    metrics = entry.task(settings).metrics([Score("", dict.fromkeys(counts, 1.0))])
    return {Key(benchmark, metric.name, metric.part): metric for metric in metrics}
