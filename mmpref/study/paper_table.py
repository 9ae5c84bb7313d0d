"""The paper's figures beside ours: a plan's rows and columns as the paper has them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmpref.run.asked import TRAINED_ON
from mmpref.study.measurement import Measurement
from mmpref.study.paper_columns import Column
from mmpref.study.plan_types import Plan

DASH = "–"
PAPER, OURS = "paper", "ours"


@dataclass(frozen=True)
class PaperTable:
    """Two lines a row: the paper's figures, and ours below.

    Args:
        columns: ``row``, whose figures they are, and what the paper calls them.
        lines: cells as text.
        runs: how many measured runs ours are the mean of, by row.
        judges: who judged ours, and by which prompt.
        stands_in: what a row has in the place of what the paper has there, by row.
        note: the plan's, for readers.
    """

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    runs: Mapping[str, int]
    judges: Sequence[str]
    stands_in: Mapping[str, str]
    note: str = ""

    @property
    def remarks(self) -> list[str]:
        """What ours are of, as sentences."""
        said = [f"Ours is the mean of {_counted(self.runs)}."] if self.runs else []
        return said + ([f"Ours were judged by {', '.join(self.judges)}."] if self.judges else [])

    def markdown(self) -> str:
        """As a page of its own."""
        rule = ["---", "---", *["---:"] * (len(self.columns) - 2)]
        cells = [self.columns, rule, *self.lines]
        page = [f"# {self.title}", "", *map(_line, cells), ""]
        page += [_cell(self.note), ""] if self.note else []
        page += [part for remark in self.remarks for part in (_cell(remark), "")]
        page += [f"* {name}: {_cell(text)}." for name, text in self.stands_in.items()]
        return "\n".join(page).rstrip() + "\n"


def paper_table(plan: Plan, measurements: Iterable[Measurement], rows: Sequence[str] = ()) -> PaperTable:
    """Rows of a plan in the paper's columns; of these the ones that have a figure, the paper's or ours.

    Args:
        measurements: of the plan's ledger; points of grids are left out.
        rows: names of rows; all by default.
    """
    names = list(rows or plan.rows)
    measured: dict[str, list[Measurement]] = {name: [] for name in names}
    for one in measurements:
        if one.row in measured and not one.is_grid_point:
            measured[one.row].append(one)
    paper = {name: {column: _text(value) for column, value in plan.rows[name].paper.items()} for name in names}
    splits = {label: _split(column, plan, measured) for label, column in plan.columns.items()}
    ours = {
        name: {label: text for label, column in plan.columns.items() if (text := _mean(column, runs, splits[label]))}
        for name, runs in measured.items()
    }
    columns = [label for label in plan.columns if any(label in row for row in (*paper.values(), *ours.values()))]
    lines = []
    for name in names:
        lines.append([name, PAPER, *(paper[name].get(label, DASH) for label in columns)])
        lines.append(["", OURS, *(ours[name].get(label, DASH) for label in columns)])
    counts = {name: len({(one.base, one.seed) for one in measured[name]}) for name in names if ours[name]}
    stands_in = {name: plan.rows[name].stands_in for name in names if plan.rows[name].stands_in}
    judges = {
        value.key.judge
        for label in columns
        for runs in measured.values()
        for one in runs
        if (value := one.value(plan.columns[label].metric))
    }
    return PaperTable(plan.title, ["row", "", *columns], lines, counts, sorted(judges - {""}), stands_in, plan.note)


def _split(column: Column, plan: Plan, measured: Mapping[str, Sequence[Measurement]]) -> str | None:
    """The evaluation that a column is of, for all rows: its own, or the plan's first that any has it in; None of pairs,
    which are the same in all."""
    if column.split or column.fact:
        return column.split
    having = {one.split for runs in measured.values() for one in runs if one.value(column.metric)}
    return next((split for split in plan.evaluate if split in having), None)


def _mean(column: Column, runs: Sequence[Measurement], split: str | None) -> str:
    """The mean over the runs that have it on an evaluation, in the paper's units; empty where none has."""
    of = [one for one in runs if split in (None, one.split)]
    found = [value for one in of if (value := _value(column, one)) is not None]
    known = [value for value in found if math.isfinite(value)]
    text = f"{statistics.fmean(known) * column.times:.{column.digits}f}" if known else ""
    return f"{text} {TRAINED_ON}" if text and any(_is_trained_on(column, one) for one in of) else text


def _is_trained_on(column: Column, one: Measurement) -> bool:
    value = None if column.fact else one.value(column.metric)
    return value is not None and value.key.benchmark in one.trained_on


def _value(column: Column, one: Measurement) -> float | None:
    if column.fact:
        return one.data.get(column.fact)
    value = one.value(column.metric)
    return value.value if value else None


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _counted(runs: Mapping[str, int]) -> str:
    numbers = sorted(set(runs.values()))
    text = " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
    return f"{text} run{'s' * (numbers[-1] > 1)} a row"


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {_cell(cell)} |" if cell else " |" for cell in cells)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
