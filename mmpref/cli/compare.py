"""``mmpref compare``: evaluation runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmpref.bench.no_worse import LEGEND, columns_and_rows, summary
from mmpref.cli import common
from mmpref.cli.arms import ARM_COLUMNS, arm_legend, arm_rows, over
from mmpref.cli.format import (
    against_each_other,
    comparison_over,
    comparison_verdict,
    difference_columns,
    difference_rows,
    legend,
    missing_rows,
    print_fitting,
    print_table,
    print_text,
    print_verdict,
    remarks_of,
    short_names,
    value_rows,
)
from mmpref.log import counted

if TYPE_CHECKING:
    from mmpref.bench.compare import Comparison


def _arms(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, list[Path]] | None:
    arms: dict[str, list[Path]] = {}
    for value in values:
        name, equals, runs = value.partition("=")
        if not (name and equals and runs):
            raise click.BadParameter(f"{value!r} is not of the form NAME=RUN,RUN,...")
        if name in arms:
            raise click.BadParameter(f"the arm {name} is there twice; name all of its runs at once: {name}=RUN,RUN,...")
        arms[name] = [Path(run) for run in runs.split(",")]
    return arms or None


@click.command()
@click.argument("runs", nargs=-1, type=common.UserPath(path_type=Path))
@click.option(
    "--baseline",
    metavar="RUN|hf://...",
    help="Test all others against this run's adapter (#base: its base), or a published evaluation's at a commit.",
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    callback=_arms,
    metavar="NAME=RUN,RUN,...",
    help="Several runs of one arm, of other seeds or judges: how much of a difference is seed. Repeatable.",
)
@click.option(
    "--margin",
    multiple=True,
    metavar="[BENCHMARK=]VALUE",
    help="A difference that makes none: say of each benchmark whether it is no worse. Repeatable.",
)
@click.option(
    "--html",
    type=common.UserPath(path_type=Path),
    metavar="FILE",
    help="Write a page too: verdict, tables, plots, wins and losses with their images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    runs: tuple[Path, ...],
    baseline: str | None,
    arms: dict[str, list[Path]] | None,
    margin: tuple[str, ...],
    html: Path | None,
    as_json: bool,
) -> None:
    """Set evaluation runs side by side, with intervals and, where they answered the same, with tests.

    \b
    Examples:
      mmpref compare runs/evaluate-pope-chair-1a2b3c4d runs/evaluate-pope-chair-5e6f7a8b
      mmpref compare runs/base runs/dpo --html compare.html
      mmpref compare runs/mine --margin 0.01 --baseline hf://datasets/me/records@1a2b3c4d
      mmpref compare --arm dpo=runs/dpo-0,runs/dpo-1,runs/dpo-2 --arm bdhs=runs/bdhs-0,runs/bdhs-1,runs/bdhs-2
    """
    from mmpref.api.evaluate import compare

    count = len(runs) + sum(map(len, (arms or {}).values()))
    if count:
        click.echo(f"Reading {counted(count, 'run')}.", err=True)
    comparison = compare(*runs, baseline=baseline, arms=arms, margin=margin or None).comparison
    for warning in comparison.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if html:
        from mmpref.cli.pages.compare import page

        common.write_page(html, page(comparison))
        click.echo(f"Page: {html}", err=True)
    common.show(comparison.as_dict(), as_json, lambda: _print(comparison))


def _print(comparison: Comparison) -> None:
    if comparison.columns:
        _print_columns(comparison)
    if rows := arm_rows(comparison):
        click.echo()
        print_table(f"arms: mean [95 % interval over {over(comparison)}]", ARM_COLUMNS, rows, breaks=(0,))
        print_text(arm_legend(comparison))


def _print_columns(comparison: Comparison) -> None:
    names = short_names(comparison)
    for name, model in zip(names, comparison.models, strict=True):
        click.echo(f"{name}  {model}")
    click.echo()
    print_verdict(*comparison_verdict(comparison))
    print_text(comparison_over(comparison))
    print_text(against_each_other(comparison))
    if comparison.no_worse:
        letters = dict(zip(comparison.models, names, strict=True))
        print_table("no worse than the margin", *columns_and_rows(comparison.no_worse, letters), breaks=(0,))
        print_text(f"{summary(comparison.no_worse)} {LEGEND}")
    for remark in remarks_of(comparison):
        print_text(f"Note: {remark}")
    click.echo()
    columns = ["metric", *names, "n"]
    values, brief = value_rows(comparison), value_rows(comparison, brief=True)
    print_fitting("value [95 % interval]", (columns, values), (columns, brief))
    if rows := missing_rows(comparison):
        click.echo()
        print_table("missing samples", ["benchmark", *names], rows)
    if rows := difference_rows(comparison):
        click.echo()
        shown, _ = print_fitting(
            "difference from the first column that has the benchmark",
            (difference_columns(names), rows),
            (difference_columns(names, brief=True), difference_rows(comparison, brief=True)),
        )
        print_text(legend(comparison.claims, has_p="p" in shown))
