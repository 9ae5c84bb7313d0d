"""From a recipe to benchmarks that are ready to be asked: settings spelled out, data read."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.results import Plan
from mmpref.errors import HubError, InputError, UsageError
from mmpref.recipes import schema as recipes
from mmpref.tables.open import open_table
from mmpref.tables.table import Table

if TYPE_CHECKING:
    from mmpref.bench.recipe import EvaluateRecipe


def resolved(recipe: EvaluateRecipe) -> EvaluateRecipe:
    """The recipe with every benchmark's settings spelled out."""
    recipe = dataclasses.replace(recipe, benchmarks=tuple(dict.fromkeys(recipe.benchmarks)))
    unknown = set(recipe.benchmark) - set(BENCHMARKS.names())
    if unknown:
        BENCHMARKS.get(sorted(unknown)[0])
    blocks = {}
    for name in recipe.benchmarks:
        values = dict(recipe.benchmark.get(name) or {})
        if recipe.split:
            values["split"] = recipe.split
        blocks[name] = recipes.as_plain(recipes.build(BENCHMARKS.get(name).settings, values, f"benchmark {name}"))
    return dataclasses.replace(recipe, benchmark=blocks)


def planned(recipe: EvaluateRecipe, name: str) -> Plan:
    """A benchmark with its data read.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: data that cannot be read, or have no rows.
    """
    benchmark = BENCHMARKS.get(name)
    settings = recipes.build(benchmark.settings, recipe.benchmark[name], f"benchmark {name}")
    task = benchmark.task(settings)
    own = benchmark.opens(settings) if benchmark.opens else None
    table = own or _open(name, settings, benchmark.candidates)
    samples = task.samples(table, recipe.limit)
    if not samples:
        raise InputError(f"The data of benchmark {name} ({table.spec}, split {table.split}) has no rows.")
    repeated = next((one for one, count in Counter(sample.id for sample in samples).items() if count > 1), None)
    if repeated is not None:
        raise InputError(
            f"{table.spec} ({table.split}) has several rows of the id {repeated!r}.", "Answers are kept by id."
        )
    return Plan(name, recipe.label(name), settings, task, table, samples)


def _open(name: str, settings: Any, candidates: Sequence[str]) -> Table:
    """The data that the settings name, or the first of the published repositories that is there."""
    if settings.data is not None:
        return open_table(settings.data, settings.split, config=settings.config)
    if not candidates:
        raise UsageError(
            f"The benchmark {name} has no data on the Hub that mmpref knows.",
            f"Give --set benchmark.{name}.data=PATH (see `mmpref list benchmarks`).",
        )
    for candidate in candidates[:-1]:
        with contextlib.suppress(InputError, HubError):
            return open_table(candidate, settings.split, config=settings.config)
    return open_table(candidates[-1], settings.split, config=settings.config)
