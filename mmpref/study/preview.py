"""A plan before any work: every recipe of every row resolved, and what there is to do, as commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.api.call import Call
from mmpref.errors import MmprefError, UsageError
from mmpref.registry import suggest
from mmpref.study.bases import Start
from mmpref.study.choice import points
from mmpref.study.named_metrics import named
from mmpref.study.plan_types import Plan, Row
from mmpref.study.schedule import Schedule
from mmpref.study.sharing import refuse_others
from mmpref.study.steps import Composer, Job
from mmpref.study.targets import Target, select
from mmpref.study.work import trainer_of


@dataclass(frozen=True)
class Command:
    """A command that does by hand what the study does.

    Args:
        call: with its options.
        output: its ``--output``; None where it goes to its default place.
    """

    call: Call
    output: Path | None

    def arguments(self) -> list[str]:
        """All words behind ``mmpref``."""
        return [*self.call.arguments(), *(["--output", str(self.output)] if self.output else [])]


@dataclass(frozen=True)
class RowPreview:
    """What a row takes.

    Args:
        commands: of its first run; with the first point of a grid that has not chosen yet.
        bases: seeds of bases that are to be trained before.
        runs, measured: how many it has, and how many of them the ledger has.
        points, measured_points: of its own grid.
        point: what the grid has chosen, if it has; None before.
    """

    row: Row
    commands: Sequence[Command]
    bases: Sequence[int]
    runs: int
    measured: int
    points: int
    measured_points: int
    point: Mapping[str, Any] | None


def check(plan: Plan, folder: Path) -> None:
    """Resolve every recipe of every row as the work will, with all the settings that its blocks hold.

    Raises:
        UsageError: one cannot be resolved, and in which row; or a metric that no evaluation of the plan has.
    """
    composer, checked = Composer(plan, folder), set[str]()
    if any(not plan.bases.is_own(Start(base, row.world)) for row in plan.rows.values() for base in row.bases):
        with _named_errors(str(plan.path)):
            trainer_of(plan.bases)
    for row in plan.rows.values():
        with _named_errors(f"{plan.path}: row {row.name!r}"):
            job = _first_job(composer, plan, row)
            calls = {step.hash: step.call for step in job.steps if step.call}
            calls |= {job.hashes[split]: call for split, call in job.evaluations.items()}
            for key in calls.keys() - checked:
                _check_call(calls[key])
            checked |= calls.keys()
            if row.grid:
                _check_metrics(composer, row)
            _refuse_reported_data(composer, plan, row, job)
    _check_named(plan, composer)


def preview(plan: Plan, folder: Path, only: Sequence[str] = ()) -> list[RowPreview]:
    """What each row takes, and what of it the ledger has.

    Raises:
        UsageError: a pattern that is no row's, or a recipe that cannot be resolved.
        RunError: the study would replace what another plan has measured in the folder.
    """
    names = select(plan, only)
    schedule = Schedule(plan, folder, names)
    refuse_others(schedule)
    missing = set(schedule.missing())
    return [_preview_row(schedule, plan.rows[name], missing) for name in names]


def _preview_row(schedule: Schedule, row: Row, missing: set[Target]) -> RowPreview:
    own = [target for target in schedule.targets if target.row == row.name]
    known = schedule.job(own[0])
    job = known or _first_job(schedule.composer, schedule.plan, row)
    grid = schedule.known_grid_jobs(row.name) if schedule.has_points(row.name) else []
    return RowPreview(
        row,
        _commands(job, _grid_evaluation(schedule.composer, row, job)),
        [base for base in row.bases if (step := schedule.composer.base(Start(base, row.world))) and not step.is_done],
        len(own),
        sum(target not in missing for target in own),
        len(points(row.grid)) if row.grid else 0,
        sum(not schedule.unmeasured_splits(one) for one in grid),
        known.point if known else None,
    )


def _refuse_reported_data(composer: Composer, plan: Plan, row: Row, job: Job) -> None:
    """What chooses a row's settings must not report on it too.

    Raises:
        UsageError: it does.
    """
    grid = plan.rows[row.grid_like or row.name].grid
    if grid is None:
        return
    chosen = _asked(composer.evaluation(grid.split, Start(row.bases[0], row.world), None))
    for split, call in job.evaluations.items():
        if both := sorted(chosen & _asked(call)):
            raise UsageError(
                f"its settings are chosen by {both[0][0]} on the evaluation {grid.split!r}, and {split!r} reports on "
                "the same data: what is chosen by its test data looks better than it is.",
                f"Leave {split!r} out of measure or evaluate, or give another grid.split.",
            )


def _asked(call: Call) -> set[tuple[str, str, str]]:
    """Benchmarks of an evaluation, with the data and the split that each asks about."""
    from mmpref.bench.evaluate import spelled_out

    recipe = spelled_out(call.resolved())
    of = {name: recipe.benchmark.get(name) or {} for name in recipe.benchmarks}
    return {(name, str(one.get("data")), str(one.get("split"))) for name, one in of.items()}


def _commands(job: Job, search: Sequence[Call] = ()) -> list[Command]:
    """Of a run; those by which a grid chooses come before its evaluations."""
    steps = [Command(step.call, step.folder) for step in job.steps if step.call]
    return [*steps, *(Command(call, None) for call in (*search, *job.evaluations.values()))]


def _grid_evaluation(composer: Composer, row: Row, job: Job) -> list[Call]:
    return [composer.evaluation(row.grid.split, Start(row.grid.base, row.world), job.training)] if row.grid else []


def _first_job(composer: Composer, plan: Plan, row: Row) -> Job:
    """The first run of a row; every grid stands at its first point."""
    first = {name: points(one.grid)[0] for name, one in plan.rows.items() if one.grid}
    first |= {name: first[one.grid_like] for name, one in plan.rows.items() if one.grid_like}
    return composer.job(row, row.bases[0], 0, first)


def _check_call(call: Call) -> None:
    from mmpref.align.method import METHODS
    from mmpref.data.builder import BUILDERS
    from mmpref.data.recipe import resolved

    call.check()
    recipe = call.resolved()
    if call.command == "build-dataset":
        resolved(recipe, BUILDERS.get(recipe.method))
    elif call.command == "train" and METHODS.get(recipe.method).needs_annotator and not recipe.annotator:
        raise UsageError(f"The method {recipe.method!r} needs an annotator.", "Name one in its part of train.")


def _check_metrics(composer: Composer, row: Row) -> None:
    """See that a grid chooses by benchmarks that its evaluation has."""
    assert row.grid is not None
    benchmarks = composer.evaluation(row.grid.split, Start(row.grid.base, row.world), None).resolved().benchmarks
    for metric in filter(None, (row.grid.best, row.grid.keep)):
        if (name := metric.split()[0]) not in benchmarks:
            raise UsageError(
                f"its grid goes by {metric!r}, and the evaluation {row.grid.split!r} has no {name!r}.",
                suggest(name, list(benchmarks)),
            )


def _check_named(plan: Plan, composer: Composer) -> None:
    """See that what a plan names is of benchmarks that its evaluations have; which metrics those have, results say."""
    row = next(iter(plan.rows.values()))
    benchmarks: dict[str, list[str]] = {}
    for split in plan.evaluate:
        recipe = composer.evaluation(split, Start(row.bases[0], row.world), None).resolved()
        benchmarks[split] = [recipe.label(name) for name in recipe.benchmarks]
    for one in named(plan):
        known = [name for split in one.splits for name in benchmarks[split]]
        if (name := one.key.benchmark) not in known:
            where = f"evaluation {one.splits[0]!r} has" if len(one.splits) == 1 else "evaluations have"
            raise UsageError(
                f"{plan.path}: {one.by} goes by {one.key.name!r}, and the {where} no {name!r}.", suggest(name, known)
            )


@contextmanager
def _named_errors(where: str) -> Iterator[None]:
    """Say of an error where in the plan it is."""
    try:
        yield
    except MmprefError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from error
