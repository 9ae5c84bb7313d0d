"""Results as tables on the screen: numbers, intervals, p-values and what they are called."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mmpref.log import counted, unsaid
from mmpref.run.asked import Marks, marked
from mmpref.run.results import ALL
from mmpref.run.results_text import COUNTS_DIFFER, counts_text, decimals, interval_text
from mmpref.run.sample_sizes import PAIRED, intervals_over

if TYPE_CHECKING:
    from rich.table import Table

    from mmpref.bench.compare import Comparison
    from mmpref.run.results import Difference, Results, Value
    from mmpref.run.verdict import Line


def print_results(results: Results, manifest: Mapping[str, Any] | None = None) -> None:
    """The results of an evaluation on stdout: a line for each benchmark, then all metrics.

    Args:
        manifest: of the run, for its remarks and for what came of a judge's replies.
    """
    from mmpref.run import verdict
    from mmpref.run.results import TITLE

    lines = verdict.lines_of(results)
    print_verdict(lines, *verdict.table(lines))
    print_text(intervals_over(results.values))
    manifest = manifest or {}
    for remark in unsaid(manifest.get("remarks", [])):
        print_text(f"Note: {remark}")
    click.echo()
    columns, rows = print_fitting(TITLE, results.table(), results.table(brief=True))
    for value in results.values:
        if (noise := value.judge_noise) and value.headline and value.part == ALL:
            print_text(
                f"Judge noise of {value.model} {value.benchmark} {value.metric}: {noise.deviation:.3f} (SD of "
                f"{noise.repeats} repeats, {noise.low:.3f} to {noise.high:.3f}); the first repeat scores."
            )
    for benchmark, models in results.reasoning.items():
        for model, replies in models.items():
            print_text(
                f"Reasoning was taken off {counted(replies['reasoned'], 'reply', 'replies')} of {model} to "
                f"{benchmark}; {replies['unfinished']} of them came to no answer and are missing."
            )
    for benchmark, models in manifest.get("judge", {}).get("replies", {}).items():
        for model, replies in models.items():
            if example := replies.get("unreadable_example"):
                print_text(
                    f"Replies of the judge to {benchmark} of {model} that could not be read: "
                    f"{100 * replies['unreadable_share']:.1f} %, such as {example!r}."
                )
    if results.differences:
        if any(" / " in str(cell) for row in rows for cell in row[1:]):
            print_text(COUNTS_DIFFER)
        claims = sum(difference.p_holm is not None for difference in results.differences)
        print_text(legend(claims, has_p="p" in columns))


def print_verdict(lines: Sequence[Line], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A line for each benchmark, what else has changed of it, and how it is to be read."""
    from mmpref.run import verdict

    print_table(verdict.title(lines), columns, rows, breaks=(0,))
    for remark in verdict.remarks(lines):
        print_text(remark)
    print_text(verdict.legend(lines))


def print_text(text: str) -> None:
    """A sentence on stdout, where there is one; a terminal breaks it between words."""
    import sys
    import textwrap

    if not text:
        return
    click.echo(textwrap.fill(text, _width(), break_on_hyphens=False) if sys.stdout.isatty() else text)


def legend(claims: int, *, has_p: bool = True) -> str:
    """What the p-values of a table are.

    Args:
        has_p: it shows them; without, only their stars.
    """
    stars = f"({claims} here): corrected by Holm's method, * < 0.05, ** < 0.01, *** < 0.001."
    if not has_p:
        return f"Stars: p of headline metrics {stars}"
    test = f"p: McNemar's exact test for shares of answers that are right or wrong, bootstrap else, both {PAIRED}."
    return f"{test} Headline metrics {stars}"


def short_names(comparison: Comparison) -> list[str]:
    """Of the columns: A, B, ...; of one run alone what its models are."""
    if len({column.run for column in comparison.columns}) == 1:
        return [column.model for column in comparison.columns]
    return [_letter(number) for number in range(len(comparison.models))]


def _letter(number: int) -> str:
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def comparison_verdict(comparison: Comparison) -> tuple[list[Line], list[str], list[list[str]]]:
    """What `print_verdict` takes: of each benchmark a line for every column but the first that has it; where there are
    more than two, it says of which."""
    from mmpref.bench.finished_model import first_with
    from mmpref.run import verdict

    columns, names = comparison.columns, short_names(comparison)
    lines: list[Line] = []
    for benchmark in _in_order(comparison):
        first = columns.index(first_with(columns, benchmark))
        rows = [
            (key, values, tests)
            for (key, values), tests in zip(comparison.rows, comparison.tests, strict=True)
            if key.benchmark == benchmark
        ]
        others = [number for number, column in enumerate(columns) if number != first and benchmark in column.benchmarks]
        for other in others or [first]:
            tested = [
                verdict.Tested(key, values[first], values[other] if others else None, tests[other])
                for key, values, tests in rows
            ]
            made = verdict.make_lines(tested, {benchmark: comparison.marks(other, benchmark)})
            pair = f" ({names[first]}, {names[other]})" if others else f" ({names[first]})"
            lines += [replace(line, name=line.name + pair) for line in made] if len(columns) > 2 else made
    return lines, *verdict.table(lines, (names[0], names[-1]) if 0 < len(columns) < 3 else ("first", "second"))


def _in_order(comparison: Comparison) -> list[str]:
    """The benchmarks, as the verdict of an evaluation has them."""
    from mmpref.run import verdict

    first = {key.benchmark for key, values in comparison.rows if verdict.counts_faults(values)}
    return sorted(comparison.missing, key=lambda benchmark: benchmark not in first)


def comparison_over(comparison: Comparison) -> str:
    """What the intervals of a comparison are over, as a sentence: those of its differences, and of the values of what
    was not tested."""
    tested = {key.benchmark for (key, _), tests in zip(comparison.rows, comparison.tests, strict=True) if any(tests)}
    groups: list[list[Value]] = [[] for _ in comparison.columns]
    for (key, values), tests in zip(comparison.rows, comparison.tests, strict=True):
        for group, value, test in zip(groups, values, tests, strict=True):
            if value and test:
                group.append(replace(value, images=test.images))
            elif value and key.benchmark not in tested:
                group.append(value)
    return intervals_over(*groups)


def against_each_other(comparison: Comparison) -> str:
    """Of adapters that are tested against their base alone: the command that tests them against the last one."""
    runs = [str(column.run) for column in comparison.untested_adapters]
    if not runs:
        return ""
    *others, last = runs
    command = shlex.join(["mmpref", "compare", *others, "--baseline", last])
    return f"The adapters are tested against their base, not against each other; that does: {command}"


def remarks_of(comparison: Comparison) -> list[str]:
    """What evaluations have to say, once a run: of its adapter, where it has one."""
    of_runs = {column.run: column for column in comparison.columns}
    return [f"{column.name}: {remark}" for column in of_runs.values() for remark in column.manifest.get("remarks", [])]


def value_rows(comparison: Comparison, *, brief: bool = False) -> list[list[str]]:
    """A row for each metric: its name, each column's value, and n; those of whole benchmarks before those of parts.

    Args:
        brief: without intervals.
    """
    rows = sorted(comparison.rows, key=lambda row: row[0].part != ALL)
    return [
        [
            key.name,
            *("" if value is None else value.number if brief else value.text() for value in values),
            counts_text(value.n for value in values if value),
        ]
        for key, values in rows
    ]


def missing_rows(comparison: Comparison) -> list[list[str]]:
    """A row for each benchmark that lacks samples in any column: its name, then how many each column lacks."""
    return [
        [benchmark, *("" if count is None else str(count) for count in counts)]
        for benchmark, counts in comparison.missing.items()
        if any(counts)
    ]


def difference_columns(names: Sequence[str], *, brief: bool = False) -> list[str]:
    """What stands above `difference_rows`.

    Args:
        names: of the comparison's columns.
    """
    return ["metric", *(column for name in names[1:] for column in ([name] if brief else [name, "change", "p"]))]


def difference_rows(comparison: Comparison, *, brief: bool = False) -> list[list[str]]:
    """A row for each metric that was tested: its name, then each column's difference from the first, its mark where the
    interval excludes 0, and its p.

    Args:
        brief: the difference alone, with its mark.
    """
    found = []
    tested = zip(comparison.rows, comparison.tests, strict=True)
    for (key, values), tests in sorted(tested, key=lambda row: row[0][0].part != ALL):
        if any(tests):
            digits = decimals(next(value.value for value in values if value))
            rows = [
                _difference_cells(test, digits, brief, comparison.marks(place, key.benchmark))
                for place, test in enumerate(tests[1:], 1)
            ]
            found.append([key.name, *(cell for cells in rows for cell in cells)])
    return found


def _difference_cells(test: Difference | None, digits: int, brief: bool, marks: Marks) -> list[str]:
    if test is None:
        return [""] if brief else ["", "", ""]
    mark = marked(test.mark, marks)
    if brief:
        return [f"{interval_text(test.value, None, None, signed=True, digits=digits)} {mark}".rstrip()]
    return [test.text(signed=True, digits=digits), mark, test.p_text]


_NUMBERS = re.compile(r"[-+\d.,:%/\[\] ]*")
_WIDEST = 1000  # characters
_FILE = 160
"""Characters of a line where stdout is no terminal."""


def print_fitting(
    title: str, *tables: tuple[Sequence[str], Sequence[Sequence[object]]], breaks: Collection[int] = (0,)
) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    """The first of some tables, each columns and rows, that fits the terminal; the last one where none does. Which it
    was is returned, so that what it does not show is not explained.

    Args:
        breaks: of the last one, as `print_table` takes it.
    """
    for columns, rows in tables[:-1]:
        if _table(title, columns, rows, ())[1] <= _width():
            print_table(title, columns, rows)
            return columns, rows
    print_table(title, *tables[-1], breaks=breaks)
    return tables[-1]


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], breaks: Collection[int] | None = None
) -> None:
    """A table on stdout: numbers to the right, text to the left. A terminal that is too narrow wraps whole lines.

    Args:
        breaks: numbers of the columns whose text may be broken over lines; by default the last one.
    """
    from rich.console import Console

    table, least = _table(title, columns, list(rows), (len(columns) - 1,) if breaks is None else breaks)
    Console(width=max(_width(), min(least, _WIDEST))).print(table)


def _width() -> int:
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _FILE


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], breaks: Collection[int]
) -> tuple[Table, int]:
    """The table, and the characters that it takes at least."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = bool(index) and all(_NUMBERS.fullmatch(row[index]) for row in cells)
        whole = numbers or index not in breaks
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
    console = Console(width=_WIDEST)
    return table, Measurement.get(console, console.options, table).minimum
