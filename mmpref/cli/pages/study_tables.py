"""What stands behind a study's results, in columns and lines of text: settings that were tried, trainings, and the
paper's figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mmpref.hub.cards.markdown import table as markdown_table
from mmpref.hub.cards.markdown import text as escaped
from mmpref.run.asked import TRAINED_ON
from mmpref.study.conclude import TRAINING, Conclusions, GridPoint, GridResult
from mmpref.study.paper_table import PaperTable

TRAINED = "The end of each row's training"
BESIDE = "Beside the paper"
OTHERS = "The paper's are of other models, trained and asked on other images: levels do not compare, at most orders do."
OUTSIDE = "Where no setting that was tried kept what it had to of the base's, the one that kept most was taken."


def number(value: float | None) -> str:
    """A number as these tables have it, a dash where there is none."""
    return "–" if value is None else f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"


def fact_lines(
    titles: Mapping[str, str], facts: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], list[list[str]]]:
    """The heading and the lines of a table of what is known of rows."""
    names = dict.fromkeys(name for of_row in facts.values() for name in of_row)
    lines = [[row, *(number(of_row.get(name)) for name in names)] for row, of_row in facts.items()]
    return ["row", *(titles.get(name, name) for name in names)], lines


def grid_lines(grid: GridResult) -> list[dict[str, Any]]:
    """A line for the base, and one for each setting that was tried."""
    named = [("base", grid.base)] if grid.base else []
    named += [(settings(point), point) for point in grid.points]
    return [
        {
            "chosen": point.chosen,
            "cells": [
                grid.row if index == 0 else "",
                name,
                *map(number, (point.best, point.keep, point.kl)),
                _remark(grid, point),
            ],
        }
        for index, (name, point) in enumerate(named)
    ]


def settings(point: GridPoint) -> str:
    """Those of a point, as they are given on the command line."""
    return ", ".join(f"{key}={value}" for key, value in point.point.items())


def _remark(grid: GridResult, point: GridPoint) -> str:
    chosen = ("chosen, though none kept enough" if grid.outside else "chosen") if point.chosen else ""
    return f"{chosen} {TRAINED_ON}".lstrip() if point.trained_on else chosen


def markdown_sections(conclusions: Conclusions) -> list[str]:
    """Blocks of Markdown; none of what a study does not have."""
    parts = []
    if conclusions.grids:
        parts.append("## Settings that were tried")
        for _, grids in itertools.groupby(conclusions.grids, _rule):
            parts += _grid_table(list(grids))
    if outside := [grid.row for grid in conclusions.grids if grid.outside]:
        parts.append(f"{OUTSIDE} That is so of {escaped(', '.join(outside))}.")
    if conclusions.training:
        columns, lines = fact_lines(TRAINING, conclusions.training)
        parts += [f"## {TRAINED}", _table(columns, lines)]
    if conclusions.paper:
        parts += [f"## {BESIDE}", _table(conclusions.paper.columns, conclusions.paper.lines, (1,)), OTHERS]
        parts += [escaped(text) for text in paper_remarks(conclusions.paper)]
    return parts


def _rule(grid: GridResult) -> tuple[str, str | None, str, int]:
    """What rows whose grids stand in one table have in common."""
    return grid.grid.best, grid.grid.keep, grid.grid.split, grid.grid.base


def _grid_table(grids: Sequence[GridResult]) -> list[str]:
    """A line a row and a column a setting: what the choice is by."""
    best, keep, split, base = _rule(grids[0])
    tried = list(dict.fromkeys(settings(point) for grid in grids for point in grid.points))
    lines = []
    for grid in grids:
        points = {settings(point): point for point in grid.points}
        lines.append([escaped(grid.row), _point(grid.base), *(_point(points.get(name)) for name in tried)])
    said = f"{best}, then {keep}" if keep else best
    return [
        escaped(f"Each cell: {said}, on {split} and base {base}. In bold: what was chosen."),
        markdown_table(["row", "base", *map(escaped, tried)], lines),
    ]


def _point(point: GridPoint | None) -> str:
    if point is None:
        return "–"
    text = ", ".join(number(value) for value in (point.best, point.keep) if value is not None)
    text += f" {TRAINED_ON}" if point.trained_on else ""
    return f"**{text}**" if point.chosen else text


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> str:
    return markdown_table([*map(escaped, columns)], [[*map(escaped, cells)] for cells in lines], texts)


def paper_remarks(table: PaperTable) -> list[str]:
    """What ours are of, and what stands for what the paper has."""
    return [*table.remarks, *(f"{name}: {text}." for name, text in table.stands_in.items())]
