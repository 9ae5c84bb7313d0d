"""``mmpref compare``: evaluation runs side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.evaluate import legend, p_value

if TYPE_CHECKING:
    from mmpref.bench.compare import Comparison, Tested


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write one HTML file too: tables, plots, wins and losses with their images.",
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

    found = compare(runs)
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if html:
        from mmpref.cli.pages.compare import page

        common.write_page(html, page(runs, found))
        click.echo(f"Page: {html}", err=True)
    common.show(dataclasses.asdict(found), as_json, lambda: _print(found))


def _print(found: Comparison) -> None:
    common.print_table("value [95 % interval]", ["metric", *found.models], value_rows(found))
    if rows := missing_rows(found):
        common.print_table("missing samples", ["benchmark", *found.models], rows)
    if rows := difference_rows(found):
        title = "difference from the first column that has the benchmark, p"
        common.print_table(title, difference_columns(found), rows)
        click.echo(legend(claims(found)))


def metric_name(key: Sequence[str]) -> str:
    """Benchmark, metric and part in one cell."""
    return " ".join(key).removesuffix(" all")


def value_rows(found: Comparison) -> list[list[str]]:
    """A row for each metric: its name, then each column's value with its interval."""
    return [[metric_name(key), *("" if cell is None else _cell(cell) for cell in cells)] for key, cells in found.rows]


def missing_rows(found: Comparison) -> list[list[str]]:
    """A row for each benchmark that lacks samples in any column: its name, then how many each column lacks."""
    return [
        [benchmark, *("" if count is None else str(count) for count in counts)]
        for benchmark, counts in found.missing.items()
        if any(counts)
    ]


def difference_columns(found: Comparison) -> list[str]:
    """What stands above `difference_rows`."""
    return ["metric", *(name for model in found.models[1:] for name in (model, "p"))]


def difference_rows(found: Comparison) -> list[list[str]]:
    """A row for each metric that was tested: its name, then each column's difference from the first, and its p."""
    return [
        [metric_name(key), *(text for test in tests[1:] for text in (("", "") if test is None else _tested(test)))]
        for (key, _), tests in zip(found.rows, found.tests, strict=True)
        if any(tests)
    ]


def claims(found: Comparison) -> int:
    """How many tests Holm's correction was over."""
    return sum(test is not None and test.p_holm is not None for tests in found.tests for test in tests)


def _cell(cell: dict[str, Any]) -> str:
    return f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"


def _tested(test: Tested) -> tuple[str, str]:
    return f"{test.value:+.3f} [{test.low:+.3f}, {test.high:+.3f}]", p_value(dataclasses.asdict(test))
