"""What a study takes before it is run: hours of its commands, accelerators, and what it wants from outside.

The commands are made by the same code that does the work (`mmpref.study.steps`); a grid stands for one command for each
of its points. Every value of every key of a grid is resolved once, as the work will.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.api.call import Call
from mmpref.data.builder import BUILDERS
from mmpref.study import estimate, requirements
from mmpref.study.bases import Start
from mmpref.study.choice import points
from mmpref.study.known_sets import KNOWN
from mmpref.study.plan_types import Plan, Row
from mmpref.study.requirements import Requirement
from mmpref.study.steps import Composer, Step


@dataclass(frozen=True)
class Cost:
    """Of a command, or of those of a grid's points.

    Args:
        row: that it is for; what rows have in common is counted for the first of them.
        work: the command's name and method, or the evaluation's.
        times: how many commands it stands for.
        hours: of all of them, by `mmpref.study.estimate`; NaN where there is no estimate.
        accelerators: that it works on at a time; 0 where no model of the Hub works.
        wants: from outside.
    """

    row: str
    work: str
    times: int
    hours: float
    accelerators: int
    wants: frozenset[Requirement]


def budget(plan: Plan, folder: Path, rows: Sequence[str]) -> list[Cost]:
    """Of some rows in order, on every base and seed that they have.

    Args:
        folder: of the study.
        rows: names.

    Raises:
        UsageError: a setting, in a grid for example, that a command does not take.
    """
    return list(_Budget(plan, folder).costs(rows))


class _Budget:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.composer = plan, Composer(plan, folder)
        self.firsts = {name: self._first(row) for name, row in plan.rows.items()}
        self.counted: set[str] = set()
        self.checked: set[tuple[str, str, str]] = set()

    def _first(self, row: Row) -> Mapping[str, Any]:
        """The first point of the grid that decides a row's settings."""
        grid = self.plan.rows[row.grid_like].grid if row.grid_like else row.grid
        return points(grid)[0] if grid else {}

    def costs(self, names: Sequence[str]) -> Iterator[Cost]:
        for row in map(self.plan.rows.__getitem__, names):
            if row.grid:
                yield from self._search(row)
            for base in row.bases:
                for seed in range(row.seeds):
                    yield from self._run(row, base, seed)

    def _run(self, row: Row, base: int, seed: int) -> Iterator[Cost]:
        """What is built and trained for a run that was not before, and its evaluations."""
        job = self.composer.job(row, base, seed, self.firsts)
        for step in job.steps:
            if step.call and self._is_new(step.hash):
                yield self._cost(row, step.call, 1, self._hours(step))
        for split, call in job.evaluations.items():
            if self._is_new(job.hashes[split]):
                yield self._cost(row, call, 1, estimate.evaluate_hours(self.composer.resolved(call)))

    def _search(self, row: Row) -> Iterator[Cost]:
        """Trainings and evaluations of a grid; the training that is chosen is one of them."""
        grid = row.grid
        assert grid is not None
        job = self.composer.job(row, grid.base, grid.seed, self.firsts)
        assert job.training is not None
        *before, training = [step for step in job.steps if step.call]
        for step in before:
            if step.call and self._is_new(step.hash):
                yield self._cost(row, step.call, 1, self._hours(step))
        self._is_new(training.hash)
        assert training.call is not None
        first, times = self._hours(training), len(points(grid))
        means = [self._mean_ratio(row, key, values, first) for key, values in grid.search.items()]
        yield self._cost(row, training.call, times, times * first * math.prod(means))
        evaluation = self.composer.evaluation(grid.split, Start(grid.base, row.world), training)
        yield self._cost(row, evaluation, times, times * estimate.evaluate_hours(self.composer.resolved(evaluation)))

    def _mean_ratio(self, row: Row, key: str, values: Sequence[Any], first: float) -> float:
        """How the hours of the grid's first point change with one of its keys, on average over the key's values."""
        assert row.grid is not None
        hours = []
        for value in values:
            point = {**self.firsts[row.name], key: value}
            step = self.composer.training(row, row.grid.base, row.grid.seed, point, {**self.firsts, row.name: point})
            assert step.call is not None
            hours.append(self._hours(step))
            if (what := (str(step.call.options.get("method")), key, repr(value))) not in self.checked:
                self.checked.add(what)
                step.call.check()
        return sum(hours) / len(hours) / first if first else 1.0

    def _is_new(self, key: str) -> bool:
        new = key not in self.counted
        self.counted.add(key)
        return new

    def _hours(self, step: Step) -> float:
        assert step.call is not None
        recipe = self.composer.resolved(step.call)
        if step.command == "build-dataset":
            return estimate.build_hours(recipe, self._rows(step))
        return estimate.train_hours(recipe, self._rows(step))

    def _cost(self, row: Row, call: Call, times: int, hours: float) -> Cost:
        recipe = self.composer.resolved(call)
        if call.command == "build-dataset":
            work, wants = f"{call.command} {recipe.method}", requirements.of_build(recipe)
        elif call.command == "train":
            work, wants = f"{call.command} {recipe.method}", requirements.of_train(recipe)
        else:
            work, wants = f"{call.command} {', '.join(recipe.benchmarks)}", requirements.of_evaluate(recipe)
        models = [one.name for one in wants if one.kind == "model"]
        return Cost(row.name, work, times, hours, estimate.accelerators(models) if models else 0, frozenset(wants))

    def _rows(self, step: Step) -> float:
        """Rows that a step works on, as far as sizes are known; NaN where they are not."""
        assert step.call is not None
        recipe = self.composer.resolved(step.call)
        if step.command == "build-dataset" and not recipe.source:
            origin = BUILDERS.get(recipe.method).origin
            known = KNOWN.get(origin.repos[0]) if origin else None
            rows = float(known.rows) if known and known.rows else math.nan
        else:
            named = recipe.source if step.command == "build-dataset" else recipe.dataset
            builds = {str(need.folder): need for need in step.needs}
            names = (named,) if isinstance(named, str) else named
            rows = math.fsum(self._rows(builds[name]) if name in builds else math.nan for name in names)
        limits = [limit for limit in (recipe.limit, getattr(recipe, "subsample", None)) if limit]
        return min(limits, default=rows) if math.isnan(rows) else min([rows, *limits])
