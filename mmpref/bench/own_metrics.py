"""The metrics of a finished run, made again by its benchmark, so that they can be taken over fewer of its samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmpref.bench.benchmark import BENCHMARKS, CountKey, Metric, Sample, Score, rate
from mmpref.bench.parts import with_group_counts
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import Record
from mmpref.errors import RunError
from mmpref.recipes import schema as recipes
from mmpref.run.results import Key, Value


def own_metrics(
    recipe: Mapping[str, Any], label: str, values: Mapping[Key, Value], scores: Sequence[Score]
) -> dict[Key, Metric]:
    """Those of a run's results, by key; of a foreign benchmark those that are a quotient of two counts.

    Args:
        recipe: of the run, as its manifest has it.
        label: the benchmark, as results call it.
        values: its results.
        scores: of all samples that have one.

    Raises:
        MmprefError: the benchmark is not installed, a file that its settings name cannot be read, or no metric can be
            made without foreign code.
    """
    built = recipes.build(EvaluateRecipe, recipe)
    name = next((name for name in built.benchmarks if built.label(name) == label), None)
    if name is None:
        raise RunError(f"The recipe of the run has no benchmark {label}.")
    benchmark = BENCHMARKS.get(name)
    if benchmark.foreign:
        return _recorded(values)
    task = benchmark.task(recipes.build(benchmark.settings, built.benchmark.get(name, {}), f"benchmark {name}"))
    made = {(metric.name, metric.part): metric for metric in task.metrics(scores)}
    return {key: made[key.unjudged.metric, key.part] for key in values if (key.unjudged.metric, key.part) in made}


def _recorded(values: Mapping[Key, Value]) -> dict[Key, Metric]:
    """The metrics that results say all of."""
    parts, made = {key.part for key in values}, {}
    for key, value in values.items():
        if value.of:
            top, bottom = (CountKey.read(count, parts) for count in value.of)
            better, headline = value.higher_is_better, value.headline
            made[key] = rate(key.metric, key.part, top, bottom, better, binary=value.binary, headline=headline)
    if not made:
        raise RunError("its metrics are made of all scores by code of others, which a comparison does not run.")
    return made


def scores_of(records: Sequence[Record], kept: Collection[str], parts: Collection[str]) -> dict[str, Score]:
    """The counts of some records by their ids, with those of the groups that are whole among them, by the keys that
    metrics know them by.

    Args:
        kept: ids of these records.
        parts: of the benchmark; a part's name may hold what stands between it and a count's.
    """
    samples = [Sample(one.id, one.image_id, None, (), None, one.groups) for one in records]
    own = [Score("", one.counts, right=one.right) for one in records]
    scores = with_group_counts(samples, own, {one.id for one in records if one.id not in kept})
    return {
        sample.id: Score("", {CountKey.read(str(name), parts): n for name, n in score.counts.items()})
        for sample, score in zip(samples, scores, strict=True)
        if sample.id in kept
    }
