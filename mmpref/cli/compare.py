"""``mmpref compare``: evaluation runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmpref.cli import common
from mmpref.cli.format import (
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

if TYPE_CHECKING:
    from mmpref.bench.compare import Comparison


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page too: verdict, tables, plots, wins and losses with their images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(runs: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Set evaluation runs side by side, with intervals and, where they answered the same, with tests.

    \b
    Examples:
      mmpref compare runs/evaluate-pope-chair-1a2b3c4d runs/evaluate-pope-chair-5e6f7a8b
      mmpref compare runs/base runs/dpo --html compare.html
    """
    from mmpref.bench.compare import compare

    click.echo(f"Reading {len(runs)} {'run' if len(runs) == 1 else 'runs'}.", err=True)
    comparison = compare(runs)
    for warning in comparison.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if html:
        from mmpref.cli.pages.compare import page

        common.write_page(html, page(comparison))
        click.echo(f"Page: {html}", err=True)
    common.show(comparison.as_dict(), as_json, lambda: _print(comparison))


def _print(comparison: Comparison) -> None:
    names = short_names(comparison)
    for name, model in zip(names, comparison.models, strict=True):
        click.echo(f"{name}  {model}")
    click.echo()
    print_verdict(*comparison_verdict(comparison))
    for remark in remarks_of(comparison):
        print_text(f"Note: {remark}")
    click.echo()
    columns = ["metric", *names]
    values, brief = value_rows(comparison), value_rows(comparison, brief=True)
    print_fitting("value [95 % interval]", (columns, values), (columns, brief))
    if rows := missing_rows(comparison):
        click.echo()
        print_table("missing samples", ["benchmark", *names], rows)
    if rows := difference_rows(comparison):
        click.echo()
        print_fitting(
            "difference from the first column that has the benchmark, p",
            (difference_columns(names), rows),
            (difference_columns(names, brief=True), difference_rows(comparison, brief=True)),
        )
        print_text(legend(comparison.claims))
