"""``mmpref reproduce NAME`` of a study: check its plan, run what is missing, print a table."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_table
from mmpref.errors import RunError, UsageError
from mmpref.log import counted, duration
from mmpref.run.asked import TRAINED_ON_MEANS

if TYPE_CHECKING:
    from mmpref.study.plan_types import Plan
    from mmpref.study.preview import Command, RowPreview

_MODULES = {
    "build-dataset": "mmpref.cli.build_dataset",
    "train": "mmpref.cli.train",
    "evaluate": "mmpref.cli.evaluate",
}


def reproduce(
    name: str,
    only: Sequence[str],
    output: Path | None,
    as_json: bool,
    *,
    jobs: int,
    minutes: float | None,
    scale: str | None,
    dry_run: bool,
) -> None:
    """Run a study, or with ``dry_run`` say what it would do.

    Raises:
        UsageError: the plan is wrong, and where.
        RunError: runs have failed; the others are measured.
    """
    from mmpref.cli.reproduce_budget import budget_as_dict, print_budget
    from mmpref.study.budget import budget
    from mmpref.study.plan import load
    from mmpref.study.preview import check, preview

    plan = load(name, scale)
    folder = output or Path("runs") / f"reproduce-{Path(name).stem}{f'-{scale}' if scale else ''}"
    check(plan, folder)
    if dry_run:
        rows = preview(plan, folder, only)
        for command in (command for row in rows for command in row.commands):
            _parse(command)
        costs = budget(plan, folder, [row.row.name for row in rows])

        def show() -> None:
            _print(plan, rows)
            print_budget(costs)

        budgeted = budget_as_dict(costs)
        common.show({"path": str(folder), "rows": [_as_dict(row) for row in rows], **budgeted}, as_json, show)
        return
    from mmpref.study.runner import run

    outcome = run(
        plan,
        folder,
        only=only,
        jobs=jobs,
        minutes=minutes,
        say=lambda line: click.echo(line, err=True),
        on_progress=HowFar(),
    )
    from mmpref.cli.pages.study import write_page

    page = write_page(plan, folder)
    _show_outcome(plan, folder, only, as_json, {**dataclasses.asdict(outcome), "report": str(page)})
    if outcome.failures:
        first = outcome.failures[0]
        raise RunError(
            f"{len(outcome.failures)} of the study's runs have failed, the first of row {first.row!r}: {first.reason}",
            "The same command tries them again; what is measured is kept.",
        )


class HowFar:
    """Says how many runs of a study are measured, and how long the others will take if they take as long."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._begun = time.monotonic()

    def __call__(self, measured: int, runs: int) -> None:
        if self._before is None:
            self._before = measured
        new, left = measured - self._before, runs - measured
        seconds = (time.monotonic() - self._begun) / new * left if new else 0.0
        text = f", {duration(seconds)} left" if new and left else ""
        click.echo(f"{measured} of {counted(runs, 'run')} measured{text}.", err=True)


def _show_outcome(plan: Plan, folder: Path, only: Sequence[str], as_json: bool, outcome: dict[str, Any]) -> None:
    from mmpref.run.files import write_atomic
    from mmpref.study.effects import Effects
    from mmpref.study.paper_table import paper_table
    from mmpref.study.schedule import Schedule
    from mmpref.study.summary import summarize, table
    from mmpref.study.targets import select

    schedule = Schedule(plan, folder, select(plan, only))
    measured = schedule.measured()
    summaries = summarize(plan, measured)
    beside = paper_table(Effects(plan, measured), select(plan, only)) if plan.columns else None
    if beside:
        write_atomic(folder / "table.md", beside.markdown())

    def show() -> None:
        if summaries:
            print_table(f"{plan.title}: means over bases, of each over its runs", *table(summaries))
        if any(one.outside for one in summaries):
            click.echo("outside: no point of the grid kept what it had to; the one that kept most was taken.")
        if any(one.trained_on for one in summaries):
            click.echo(TRAINED_ON_MEANS)
        click.echo(f"measured: {outcome['runs'] - outcome['left']} of {counted(outcome['runs'], 'run')}")
        if beside:
            click.echo()
            print_table(beside.title, beside.columns, beside.lines)
            for remark in beside.remarks:
                click.echo(remark)
            for name, text in beside.stands_in.items():
                click.echo(f"{name}: {text}.")
            click.echo(f"table: {folder / 'table.md'}")
        if outcome["out_of_time"]:
            click.echo("The time is used up: the same command goes on from here.")
        click.echo(f"ledger: {folder / 'ledger'}")
        click.echo(f"report: {Path(outcome['report']).resolve()}")

    result = {"path": str(folder), "ledger": str(folder / "ledger"), **outcome}
    result["rows"] = [dataclasses.asdict(one) for one in summaries]
    result |= {"paper_table": dataclasses.asdict(beside)} if beside else {}
    common.show(result, as_json, show)


def _parse(command: Command) -> None:
    """See that a command means, typed by hand, what the study does.

    Raises:
        UsageError: it does not.
    """
    arguments = command.arguments()
    program: click.Command = importlib.import_module(_MODULES[arguments[0]]).command
    with program.make_context(arguments[0], arguments[1:]) as context:
        work = inspect.signature(program.callback).parameters if program.callback else {}
        options = {name: value for name, value in context.params.items() if name not in work}
    recipe, overrides = options.pop("recipe"), options.pop("set")
    typed = dataclasses.replace(command.call, recipe=recipe, set=overrides, options=options)
    if typed.resolved() != command.call.resolved():
        raise UsageError(f"mmpref {shlex.join(arguments)} does not mean what the study does.")


def _as_dict(row: RowPreview) -> dict[str, Any]:
    return {
        "row": row.row.name,
        "runs": row.runs,
        "measured": row.measured,
        "grid_points": row.points,
        "measured_points": row.measured_points,
        "point": row.point,
        "paper": row.row.paper,
        "stands_in": row.row.stands_in,
        "bases_to_train": list(row.bases),
        "commands": [f"mmpref {shlex.join(command.arguments())}" for command in row.commands],
    }


def _print(plan: Plan, rows: Sequence[RowPreview]) -> None:
    click.echo(plan.title)
    if plan.note:
        click.echo(plan.note)
    for row in rows:
        facts = [f"{row.measured} of {counted(row.runs, 'run')} measured"]
        facts += [f"{row.measured_points} of {counted(row.points, 'point')} of its grid"] if row.points else []
        facts += [f"takes the choice of {row.row.grid_like}"] if row.row.grid_like else []
        facts += [f"bases to train: {', '.join(map(str, row.bases))}"] if row.bases else []
        click.echo(f"\n{row.row.name}: {', '.join(facts)}{f'. {row.row.note}' if row.row.note else ''}")
        for text in [row.row.stands_in] if row.row.stands_in else []:
            click.echo(f"  stands in: {text}")
        if row.row.paper:
            click.echo(f"  published: {', '.join(f'{name} {value}' for name, value in row.row.paper.items())}")
        for key, values in row.row.grid.search.items() if row.row.grid else ():
            click.echo(f"  grid: {key} {', '.join(map(str, values))}")
        for command in row.commands:
            click.echo(f"  mmpref {shlex.join(command.arguments())}")
    runs, measured = sum(row.runs for row in rows), sum(row.measured for row in rows)
    points = sum(row.points - row.measured_points for row in rows)
    click.echo(
        f"\n{counted(runs, 'run')}, {measured} of them measured; {counted(points, 'point')} of grids to do. "
        "Commands are those of the"
    )
    click.echo("first run of each row, with the first point of a grid that has not chosen yet.")
    if to_train := {(row.row.world, base) for row in rows for base in row.bases}:
        took = f", some {len(to_train) * plan.bases.hours:.1f} hours of one core" if plan.bases.hours else ""
        click.echo(f"{counted(len(to_train), 'base')} to train{took}.")
