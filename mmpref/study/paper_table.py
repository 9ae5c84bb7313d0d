"""The paper's figures beside ours: a plan's rows and columns as the paper has them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmpref.run.results import Key
from mmpref.study.effects import Effects, spread
from mmpref.study.paper_columns import Column

DASH = "–"
PAPER, OURS, BASE_THERE = "paper", "ours", "its base on these"


@dataclass(frozen=True)
class PaperTable:
    """Two lines a row: the paper's figures, and ours below. A row that was measured on other bases than the row that it
    starts from has a third, of what that is on the same bases.

    Args:
        columns: ``row``, whose figures they are, and what the paper calls them.
        lines: cells as text.
        over: how many bases and seeds ours are the mean of, by row.
        judges: who judged ours, and by which prompt.
        stands_in: what a row has in the place of what the paper has there, by row.
        note: the plan's, for readers.
    """

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    over: Mapping[str, str]
    judges: Sequence[str]
    stands_in: Mapping[str, str]
    note: str = ""

    @property
    def remarks(self) -> list[str]:
        """What ours are of, as sentences."""
        said = ["Ours is the mean over the bases that are counted there, of each the mean over its seeds."]
        said = said if self.over else []
        if any(line[1] == BASE_THERE for line in self.lines):
            said.append(f"A row on other bases than its base compares with the line {BASE_THERE!r} alone.")
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


@dataclass(frozen=True)
class _Ours:
    """One of our numbers.

    Args:
        value: in the paper's units.
        bases: that it is the mean over; seeds: the fewest and the most of a base, none of a fact of the pairs.
    """

    value: float
    bases: tuple[int, ...]
    seeds: tuple[int, ...] = ()
    marks: tuple[str, ...] = ()
    judge: str = ""

    def text(self, column: Column) -> str:
        return " ".join((f"{self.value:.{column.digits}f}", *self.marks))


def paper_table(effects: Effects, rows: Sequence[str] = ()) -> PaperTable:
    """Rows of a plan in the paper's columns; of these the ones that have a figure, the paper's or ours.

    Args:
        rows: names of rows; all by default.
    """
    plan = effects.plan
    names = list(rows or plan.rows)
    figures = _Figures(effects, {label: _split(column, effects, names) for label, column in plan.columns.items()})
    paper = {name: {column: _text(value) for column, value in plan.rows[name].paper.items()} for name in names}
    ours = {name: figures.of(name) for name in names}
    figures_of: list[Collection[str]] = [*paper.values(), *ours.values()]
    columns = [label for label in plan.columns if any(label in of_row for of_row in figures_of)]
    lines = []
    for name in names:
        lines.append([name, PAPER, *(paper[name].get(label, DASH) for label in columns)])
        lines.append(["", _whose(ours[name].values()), *_cells(ours[name], plan.columns, columns)])
        if there := figures.base_there(name):
            lines.append(["", BASE_THERE, *_cells(there, plan.columns, columns)])
    over = {name: _over(row.values()) for name, row in ours.items() if row}
    judges = {row[label].judge for row in ours.values() for label in columns if label in row}
    stands_in = {name: plan.rows[name].stands_in for name in names if plan.rows[name].stands_in}
    return PaperTable(plan.title, ["row", "", *columns], lines, over, sorted(judges - {""}), stands_in, plan.note)


def _split(column: Column, effects: Effects, rows: Sequence[str]) -> str:
    """The evaluation that a column is of, for all rows: its own, or the plan's first that any has it in; none of pairs,
    which are the same in all."""
    if column.split or column.fact:
        return column.split or ""
    key = Key.of(column.metric)
    having = (split for split in effects.plan.evaluate if any(effects.value(row, key, split) for row in rows))
    return next(having, "")


@dataclass(frozen=True)
class _Figures:
    """Our numbers, as the other tables of the study have them.

    Args:
        splits: the evaluation that each column is of.
    """

    effects: Effects
    splits: Mapping[str, str]

    def of(self, row: str) -> dict[str, _Ours]:
        """A row's, by column; without those that are not measured, or undefined."""
        found = {label: self._ours(row, label) for label in self.splits}
        return {label: one for label, one in found.items() if one and math.isfinite(one.value)}

    def base_there(self, row: str) -> dict[str, _Ours]:
        """Those of the row that a row starts from, on the same bases, where it was measured on all of these; none where
        both are on the same bases in every column."""
        base = self.effects.base_of(row)
        if base is None or base == row:
            return {}
        own, others = self.of(row), self.of(base)
        if all(one.bases == others[label].bases for label, one in own.items() if label in others):
            return {}
        return {label: there for label, one in own.items() if (there := self._less_change(row, base, label, one))}

    def _ours(self, row: str, label: str) -> _Ours | None:
        column = self.effects.plan.columns[label]
        if column.fact:
            data = {one.base: one.data for one in self.effects.every_run(row) if column.fact in one.data}
            value = statistics.fmean(of[column.fact] for of in data.values()) if data else math.nan
            return _Ours(value * column.times, tuple(sorted(data)))
        effect = self.effects.value(row, Key.of(column.metric), self.splits[label])
        if effect is None:
            return None
        marks = tuple(effect.marks)
        return _Ours(effect.value * column.times, effect.bases, effect.seeds, marks, effect.key.judge)

    def _less_change(self, row: str, base: str, label: str, own: _Ours) -> _Ours | None:
        """A row's number without what it changes of its base's: the base's, on the same bases."""
        column = self.effects.plan.columns[label]
        change = None if column.fact else self.effects.difference(row, base, Key.of(column.metric), self.splits[label])
        if change is None or change.bases != own.bases:
            return None
        return _Ours(own.value - change.value * column.times, own.bases)


def _cells(row: Mapping[str, _Ours], of: Mapping[str, Column], columns: Sequence[str]) -> list[str]:
    return [row[label].text(of[label]) if label in row else DASH for label in columns]


def _over(row: Iterable[_Ours]) -> str:
    """How many bases and seeds: the fewest and the most of any column."""
    found = list(row)
    bases, seeds = [len(one.bases) for one in found], [number for one in found for number in one.seeds]
    return " x ".join([spread(bases, "base"), *([spread(seeds, "seed")] if seeds else [])])


def _whose(row: Iterable[_Ours]) -> str:
    found = list(row)
    return f"{OURS}, {_over(found)}" if found else OURS


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {_cell(cell)} |" if cell else " |" for cell in cells)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
