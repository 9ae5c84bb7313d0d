"""Results as tables on the screen: numbers, intervals, p-values and what they are called."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmpref.bench.compare import Comparison, Tested


def print_results(content: Mapping[str, Any]) -> None:
    """The results of an evaluation as a table on stdout."""
    with_adapter = bool(content["differences"])
    base = [row for row in content["results"] if row["model"] == "base"]
    other = {_key(row): row for row in content["results"] if row["model"] == "adapter"}
    change = {_key(row): row for row in content["differences"]}
    counts = {"n": "n", "unparsed": "parse_failures"}
    if any(row["missing"] for row in content["results"]):
        counts["missing"] = "missing"
    rows = []
    for row in base:
        cells = [" ".join(_key(row)).removesuffix(" all"), _interval(row)]
        if with_adapter:
            moved = change[_key(row)]
            cells += [_interval(other[_key(row)]), _interval(moved, signed=True), p_value(moved)]
        models = [row, *([other[_key(row)]] if with_adapter else [])]
        rows.append([*cells, *(_count(models, name) for name in counts.values())])
    columns = ["metric", "base", *(["adapter", "difference", "p"] if with_adapter else []), *counts]
    noisy = [row for row in content["results"] if "judge_noise" in row and row["headline"] and row["split"] == "all"]
    print_table("evaluation: value [95 % interval]", columns, rows)
    for row in noisy:
        noise = row["judge_noise"]
        click.echo(
            f"Judge noise of {row['model']} {row['benchmark']} {row['metric']}: {noise['deviation']:.3f} (SD of "
            f"{noise['repeats']} repeats, {noise['low']:.3f} to {noise['high']:.3f}); the first repeat scores."
        )
    for label, models in content.get("reasoning", {}).items():
        for model, replies in models.items():
            click.echo(
                f"Reasoning was taken off {replies['reasoned']} replies of {model} to {label}; {replies['unfinished']} "
                "of them came to no answer and are missing."
            )
    for label, models in content.get("judge", {}).get("replies", {}).items():
        for model, said in models.items():
            if example := said.get("unreadable_example"):
                click.echo(
                    f"Replies of the judge to {label} of {model} that could not be read: "
                    f"{100 * said['unreadable_share']:.1f} %, such as {example!r}."
                )
    if with_adapter:
        click.echo("Counts that differ are written base / adapter.")
        claims = sum(row.get("p_holm") is not None for row in content["differences"])
        click.echo(legend(claims))


def p_value(test: Mapping[str, Any]) -> str:
    """A p-value as a cell: of a headline metric the corrected one, with its stars."""
    from mmpref.bench.significance import mark

    corrected = test.get("p_holm")
    p = test.get("p") if corrected is None else corrected
    if p is None:
        return "–"
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return text if corrected is None else f"{text} Holm{mark(corrected)}"


def legend(claims: int) -> str:
    """What the p-values of a table are."""
    return (
        "p: McNemar's exact test for shares of right answers, paired bootstrap else, both by image. Headline "
        f"metrics ({claims} here): corrected by Holm's method, * < 0.05, ** < 0.01, *** < 0.001."
    )


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["benchmark"], row["metric"], row["split"]


def _count(models: Sequence[Mapping[str, Any]], name: str) -> str:
    return " / ".join(str(count) for count in dict.fromkeys(model[name] for model in models))


def _interval(row: Mapping[str, Any], signed: bool = False) -> str:
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if signed else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(row["value"], row["low"], row["high"])


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
