"""Results as tables on the screen: numbers, intervals, p-values and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmpref.bench.compare import Comparison
    from mmpref.run.results import Results


def print_results(results: Results, judge: Mapping[str, Any] | None = None) -> None:
    """The results of an evaluation as a table on stdout.

    Args:
        judge: the manifest's facts of the judge, with what came of its replies.
    """
    from mmpref.run.results import ALL, TITLE

    print_table(TITLE, *results.table())
    for value in results.values:
        if (noise := value.judge_noise) and value.headline and value.part == ALL:
            click.echo(
                f"Judge noise of {value.model} {value.benchmark} {value.metric}: {noise.deviation:.3f} (SD of "
                f"{noise.repeats} repeats, {noise.low:.3f} to {noise.high:.3f}); the first repeat scores."
            )
    for benchmark, models in results.reasoning.items():
        for model, replies in models.items():
            click.echo(
                f"Reasoning was taken off {replies['reasoned']} replies of {model} to {benchmark}; "
                f"{replies['unfinished']} of them came to no answer and are missing."
            )
    for benchmark, models in (judge or {}).get("replies", {}).items():
        for model, replies in models.items():
            if example := replies.get("unreadable_example"):
                click.echo(
                    f"Replies of the judge to {benchmark} of {model} that could not be read: "
                    f"{100 * replies['unreadable_share']:.1f} %, such as {example!r}."
                )
    if results.differences:
        click.echo("Counts that differ are written base / adapter.")
        click.echo(legend(sum(difference.p_holm is not None for difference in results.differences)))


def legend(claims: int) -> str:
    """What the p-values of a table are."""
    return (
        "p: McNemar's exact test for shares of right answers, paired bootstrap else, both by image. Headline "
        f"metrics ({claims} here): corrected by Holm's method, * < 0.05, ** < 0.01, *** < 0.001."
    )


def value_rows(comparison: Comparison) -> list[list[str]]:
    """A row for each metric: its name, then each column's value with its interval."""
    return [[key.name, *(value.text() if value else "" for value in values)] for key, values in comparison.rows]


def missing_rows(comparison: Comparison) -> list[list[str]]:
    """A row for each benchmark that lacks samples in any column: its name, then how many each column lacks."""
    return [
        [benchmark, *("" if count is None else str(count) for count in counts)]
        for benchmark, counts in comparison.missing.items()
        if any(counts)
    ]


def difference_columns(comparison: Comparison) -> list[str]:
    """What stands above `difference_rows`."""
    return ["metric", *(name for model in comparison.models[1:] for name in (model, "p"))]


def difference_rows(comparison: Comparison) -> list[list[str]]:
    """A row for each metric that was tested: its name, then each column's difference from the first, and its p."""
    return [
        [
            key.name,
            *(cell for test in tests[1:] for cell in ((test.text(signed=True), test.p_text) if test else ("", ""))),
        ]
        for (key, _), tests in zip(comparison.rows, comparison.tests, strict=True)
        if any(tests)
    ]


_NUMBERS = re.compile(r"[-+\d.,:%/\[\] ]*")


_WIDEST = 1000  # characters


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout: numbers to the right, text to the left. Only text of the last column is broken over lines; a
    terminal that is too narrow for the rest wraps whole lines instead."""
    import sys

    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = bool(index) and all(_NUMBERS.fullmatch(row[index]) for row in cells)
        whole = numbers or index < len(columns) - 1
        width = max(cell_len(text) for text in (column, *(row[index] for row in cells)))
        table.add_column(
            Text(column),
            justify="right" if numbers else "left",
            overflow="fold",
            no_wrap=whole,
            min_width=width if whole else None,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    wide = Measurement.get(console, console.options.update(max_width=_WIDEST), table).minimum
    console.width = max(console.width, min(wide, _WIDEST))
    console.print(table)
