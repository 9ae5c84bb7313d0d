"""Benchmarks that a training watches: their settings are those of ``mmpref evaluate``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mmpref.recipes import resolve

if TYPE_CHECKING:
    from mmpref.align.recipe import Evaluator, TrainRecipe


def with_watched(recipe: TrainRecipe, name: str | None) -> TrainRecipe:
    """The recipe with the settings of the benchmarks that it watches: those that the same recipe has for ``mmpref
    evaluate``, and its own over them.

    Args:
        name: of the recipe.
    """
    watch = recipe.watch
    if not watch.benchmarks:
        return recipe
    from mmpref.bench.plan import with_places
    from mmpref.bench.recipe import EvaluateRecipe

    section = resolve.section(name, "evaluate", EvaluateRecipe)
    known, image_root, columns = section.get("benchmark") or {}, section.get("image_root"), section.get("columns")
    settings = {}
    for benchmark in watch.benchmarks:
        values = resolve.merge(known.get(benchmark) or {}, watch.benchmark.get(benchmark) or {})
        settings[benchmark] = with_places(values, image_root, columns)
    return dataclasses.replace(recipe, watch=dataclasses.replace(watch, benchmark=settings))


def watcher(recipe: TrainRecipe) -> Evaluator | None:
    """Who evaluates the benchmarks that a recipe watches; None where it watches none. Their data are read.

    Raises:
        UsageError: a benchmark that cannot be watched, a metric to choose by that none has, or a patience without one.
        InputError: data that cannot be read.
    """
    from mmpref.align.recipe import refuse_metric, refuse_patience
    from mmpref.bench.while_training import PeriodicEvaluator

    watch = recipe.watch
    if not watch.benchmarks:
        return None
    evaluator = PeriodicEvaluator(watch.benchmarks, watch.benchmark, split=watch.split, limit=watch.limit)
    known = evaluator.metrics()
    refuse_patience(watch, known)
    refuse_metric(watch.best, known)
    return evaluator
