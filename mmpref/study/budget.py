"""What a study would do, without doing it: its commands, resolved for real, and what they take.

Every command is made by the same code that does the work (`mmpref.study.steps`). A grid stands for one command for each
of its points: the first is shown, and each value of each key is resolved once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.data.builder import BUILDERS
from mmpref.study import estimate, requirements
from mmpref.study.choice import points
from mmpref.study.known_sets import KNOWN
from mmpref.study.plan import Plan, Row
from mmpref.study.requirements import Requirement
from mmpref.study.steps import Call, Composer, Step

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A command, or the commands of a grid's points of which it is the first.

    Args:
        row: that it is for.
        call: the command.
        output: the folder that it leaves behind.
        times: how many commands it stands for.
        hours: of all of them, by `mmpref.study.estimate`; NaN where there is no estimate.
        requirements: of the command from outside.
        accelerators: that it works on at a time; 0 where no local model works.
        search: values by key, where it stands for a grid.
    """

    row: str
    call: Call
    output: Path
    hours: float
    requirements: frozenset[Requirement]
    accelerators: int
    times: int = 1
    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The command, behind ``mmpref``."""
        return [*self.call.arguments(), "--output", str(self.output)]


def preview(plan: Plan, folder: Path, rows: Sequence[str]) -> list[Line]:
    """The commands of some rows in order, each once, on the first base and seed of a row; everything is checked.

    Args:
        folder: of the study.
        rows: names.

    Raises:
        UsageError: a setting that no command takes.
    """
    return list(_Preview(plan, folder).lines(rows))


class _Preview:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.composer = Composer(plan, folder)
        self.firsts = {name: self._first(row) for name, row in plan.rows.items()}
        self.seen: set[str] = set()

    def _first(self, row: Row) -> Point:
        """The first point of the grid that decides a row's settings."""
        grid = self.plan.rows[row.grid_like].grid if row.grid_like else row.grid
        return points(grid)[0] if grid else {}

    def lines(self, rows: Sequence[str]) -> Iterator[Line]:
        for name in rows:
            row = self.plan.rows[name]
            for base in row.bases[:1]:
                training = self._training(row, base, self.firsts[name]) if row.train else None
                steps = _in_order(training or (self.composer.pairs(row.data, base) if row.data else None))
                for step in steps:
                    yield from self._step(row, base, step, step is training)
                if row.grid and training:
                    yield from self._evaluation(row, row.grid.split, base, training, len(points(row.grid)))
                for split in row.evaluate:
                    yield from self._evaluation(row, split, base, training, 1)

    def _training(self, row: Row, base: int, point: Point) -> Step:
        return self.composer.training(row, base, 0, point, {**self.firsts, row.name: point})

    def _step(self, row: Row, base: int, step: Step, is_own: bool) -> Iterator[Line]:
        if step.hash in self.seen or step.call is None:
            return
        self.seen.add(step.hash)
        hours = self._checked_hours(step)
        if row.grid is None or not is_own:
            yield self._line(row, step.call, step.folder, hours)
            return
        search = row.grid.search
        means = (self._mean_ratio(row, base, key, values, hours) for key, values in search.items())
        times = len(points(row.grid))
        yield self._line(row, step.call, step.folder, times * hours * math.prod(means), times, search)

    def _mean_ratio(self, row: Row, base: int, key: str, values: Sequence[Any], first: float) -> float:
        """How the hours of the first point change with one of its keys, on average over the key's values."""
        hours = [self._checked_hours(self._training(row, base, {**self.firsts[row.name], key: one})) for one in values]
        return sum(hours) / len(hours) / first if first else 1.0

    def _checked_hours(self, step: Step) -> float:
        assert step.call is not None
        step.call.check()
        recipe = step.call.resolved()
        if step.command == "build-dataset":
            return estimate.build_hours(recipe, self._rows(step))
        return estimate.train_hours(recipe, self._rows(step))

    def _evaluation(self, row: Row, split: str, base: int, training: Step | None, times: int) -> Iterator[Line]:
        call = self.composer.evaluation(split, base, training)
        key = f"{split} {training.hash if training else base}"
        if key in self.seen:
            return
        self.seen.add(key)
        call.check()
        output = self.folder / "evaluate" / split / (training.folder.name if training else f"base{base}")
        yield self._line(row, call, output, times * estimate.evaluate_hours(call.resolved()), times)

    def _line(
        self,
        row: Row,
        call: Call,
        output: Path,
        hours: float,
        times: int = 1,
        search: Mapping[str, Sequence[Any]] | None = None,
    ) -> Line:
        wanted = {
            "build-dataset": requirements.of_build,
            "train": requirements.of_train,
            "evaluate": requirements.of_evaluate,
        }[call.command](call.resolved())
        models = [one.name for one in wanted if one.kind == "model"]
        accelerators = estimate.accelerators(models) if models else 0
        return Line(row.name, call, output, hours, frozenset(wanted), accelerators, times, search or {})

    def _rows(self, step: Step) -> float:
        """Rows that a step works on, as far as sizes are known; NaN where they are not."""
        assert step.call is not None
        recipe = step.call.resolved()
        if step.command == "build-dataset" and not recipe.source:
            origin = BUILDERS.get(recipe.method).origin
            known = KNOWN.get(origin.repos[0]) if origin else None
            rows = float(known.rows) if known and known.rows else math.nan
        else:
            names = (
                (recipe.source,)
                if isinstance(getattr(recipe, "source", None), str)
                else step.call.options.get("dataset", ())
            )
            builds = {str(need.folder): need for need in step.needs}
            rows = sum(self._rows(builds[name]) if name in builds else math.nan for name in names) or math.nan
        limits = [limit for limit in (recipe.limit, getattr(recipe, "subsample", None)) if limit]
        return min([rows, *limits]) if not math.isnan(rows) else min(limits, default=math.nan)


def _in_order(step: Step | None) -> list[Step]:
    """A step after all that it needs, each once."""
    found: dict[Path, Step] = {}

    def add(one: Step) -> None:
        for need in one.needs:
            add(need)
        found.setdefault(one.folder, one)

    if step is not None:
        add(step)
    return list(found.values())
