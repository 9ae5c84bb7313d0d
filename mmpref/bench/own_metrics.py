"""The metrics of a finished run, made again by its benchmark, so that they can be taken over fewer of its samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmpref.bench.benchmark import BENCHMARKS, CountKey, Metric, Score
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import Record
from mmpref.errors import RunError
from mmpref.recipes import schema as recipes
from mmpref.run.results import Key


def own_metrics(
    recipe: Mapping[str, Any], label: str, keys: Collection[Key], scores: Sequence[Score]
) -> dict[Key, Metric]:
    """Those of a run's results, by key.

    Args:
        recipe: of the run, as its manifest has it.
        label: the benchmark, as results call it.
        keys: of the results.
        scores: of all samples that have one.

    Raises:
        MmprefError: the benchmark is not installed, or a file that its settings name cannot be read.
    """
    built = recipes.build(EvaluateRecipe, recipe)
    name = next((name for name in built.benchmarks if built.label(name) == label), None)
    if name is None:
        raise RunError(f"The recipe of the run has no benchmark {label}.")
    benchmark = BENCHMARKS.get(name)
    task = benchmark.task(recipes.build(benchmark.settings, built.benchmark.get(name, {}), f"benchmark {name}"))
    made = {(metric.name, metric.part): metric for metric in task.metrics(scores)}
    return {key: made[key.unjudged.metric, key.part] for key in keys if (key.unjudged.metric, key.part) in made}


def score_of(record: Record, parts: Collection[str]) -> Score:
    """The counts of a record, by the keys that metrics know them by.

    Args:
        parts: of the benchmark; a part's name may hold what stands between it and a count's.
    """
    return Score("", {_key(name, parts): value for name, value in record.counts.items()})


def _key(name: str, parts: Collection[str]) -> CountKey | str:
    if "/" not in name:
        return name
    part = max((part for part in parts if name.startswith(f"{part}/")), key=len, default=name.partition("/")[0])
    return CountKey(part, name.removeprefix(f"{part}/"))
