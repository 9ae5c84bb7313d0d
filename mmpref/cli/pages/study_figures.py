"""The figures of a study's page: rows against the base, rows that differ in a setting or two side by side, and the
frontier of every row against KL from the base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmpref.cli.pages.html import new_figure
from mmpref.hub.cards.markdown import clip
from mmpref.run.asked import TRAINED_ON
from mmpref.run.results import ALL, Key
from mmpref.study.conclude import Conclusions, GridResult, Line, MetricTable
from mmpref.study.effects import Effect
from mmpref.study.lead_curves import LeadCurve

_FORESTS = (
    Key("chair", "chair_i", ALL),
    Key("chair", "recall", ALL),
    Key("pope", "accuracy", ALL),
    Key("chair", "chair_i_typical", ALL),
)
_GOOD, _BAD, _OPEN = "#12733a", "#b3261e", "#5b6776"
_MARKERS = "osD^vP*X<>p"


def forests(table: MetricTable) -> list[tuple[str, Any]]:
    """Every row's difference from the base, a figure a metric: what is better in green, what is worse in red."""
    figures = []
    for key in _FORESTS:
        if key not in table.keys:
            continue
        column = table.keys.index(key)
        changes = [(line.row, change) for line in table.lines if (change := line.changes[column])]
        changes = [(row, change) for row, change in changes if change.value == change.value]
        if not changes:
            continue
        figure = new_figure(5.6, 1.1 + 0.24 * len(changes))
        axes = figure.subplots()
        for place, (_, change) in enumerate(changes):
            colour = {True: _GOOD, False: _BAD, None: _OPEN}[change.better]
            axes.plot([change.low, change.high], [place, place], color=colour, linewidth=1.6)
            units = change.estimate.of_units
            axes.plot(units, [place] * len(units), "|", color=colour, markersize=5, alpha=0.6)
            axes.plot(change.value, place, "o", color=colour, markersize=4.5)
        axes.axvline(0, color="#1c2530", linewidth=0.8)
        names = [f"{_plain(row)} {TRAINED_ON}" if change.trained_on else _plain(row) for row, change in changes]
        axes.set_yticks(range(len(changes)), names, fontsize=8)
        axes.set_ylim(len(changes) - 0.4, -0.6)
        side = {True: "right is better", False: "left is better", None: ""}[changes[0][1].higher_is_better]
        axes.set_xlabel(f"{key.name} less the base's ({side})", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="x", alpha=0.3)
        figures.append((f"{key.name} on {table.split}, against the base", figure))
    return figures


def families(conclusions: Conclusions) -> list[tuple[str, Any]]:
    """Rows that differ in some settings only, less the base: against one setting a line, against more heat maps, a
    figure a metric: the first two, and those of the plan's that are of a part of a benchmark (a kind of question).
    Values of rows would not do: while runs are to come they are of other bases than each other's."""
    by_family: dict[str, list[Line]] = {}
    plan, figures = conclusions.plan, []
    parts = [key for key in map(Key.of, plan.show) if key.part != ALL]
    for table in conclusions.tables[:1]:
        for line in table.lines:
            if plan.rows[line.row].family:
                by_family.setdefault(plan.rows[line.row].family, []).append(line)
        for family, lines in by_family.items():
            levels = [plan.rows[line.row].levels for line in lines]
            draw = _curve if len(levels[0]) == 1 else _heat_maps
            for key in (key for key in (*_FORESTS[:2], *parts) if key in table.keys):
                column = table.keys.index(key)
                changes = [line.changes[column] for line in lines]
                known = [(level, change) for level, change in zip(levels, changes, strict=True) if change]
                if len(known) > 1:
                    over = "; ".join(dict.fromkeys(change.runs for _, change in known))
                    title = f"{family}: {key.name} on {table.split} by {', '.join(levels[0])}, less the base's ({over})"
                    figures.append((title, draw(f"{key.name} less the base's", known)))
    return figures


def _curve(metric: str, known: Sequence[tuple[Mapping[str, str], Effect]]) -> Any:
    figure = new_figure(5.6, 3.2)
    axes = figure.subplots()
    values = [value for _, value in known]
    below, above = [one.value - one.low for one in values], [one.high - one.value for one in values]
    axes.errorbar(
        range(len(known)), [one.value for one in values], yerr=[below, above], fmt="o-", capsize=3, markersize=4
    )
    axes.axhline(0, color="#1c2530", linewidth=0.8, linestyle="--", label="base")
    axes.legend(fontsize=8)
    axes.set_xticks(range(len(known)), [_plain(level) for levels, _ in known for level in levels.values()], fontsize=8)
    axes.set_xlabel(next(iter(known[0][0])), fontsize=8)
    axes.set_ylabel(metric, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    return figure


def _heat_maps(metric: str, known: Sequence[tuple[Mapping[str, str], Effect]]) -> Any:
    """The first two settings down and across, a map for every combination of the others."""
    down, across, *others = known[0][0]
    maps: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
    for levels, value in known:
        maps.setdefault(tuple(levels[name] for name in others), {})[levels[down], levels[across]] = value.value
    sides = [list(dict.fromkeys(levels[name] for levels, _ in known)) for name in (down, across)]
    lowest, highest = min(value.value for _, value in known), max(value.value for _, value in known)
    figure = new_figure(1.6 + 0.9 * len(sides[1]) * len(maps), 1.5 + 0.4 * len(sides[0]))
    for axes, (fixed, cells) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
        shown = [[cells.get((row, column), math.nan) for column in sides[1]] for row in sides[0]]
        axes.imshow(shown, cmap="viridis", vmin=lowest, vmax=highest, aspect="auto")
        for (row, column), number in cells.items():
            place = sides[1].index(column), sides[0].index(row)
            colour = "white" if number < (lowest + highest) / 2 else "black"
            axes.text(*place, f"{number:+.3f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(sides[1])), map(_plain, sides[1]), fontsize=8)
        axes.set_yticks(range(len(sides[0])), map(_plain, sides[0]), fontsize=8)
        axes.set_xlabel(across, fontsize=8)
        axes.set_ylabel(down, fontsize=8)
        said = [f"{name} {_plain(level)}" for name, level in zip(others, fixed, strict=True)]
        axes.set_title(", ".join(said) or metric, fontsize=8)
    return figure


def leads(curves: Sequence[LeadCurve]) -> list[tuple[str, Any]]:
    """How far a row is ahead of another against what worlds differ in: a figure a lead that has any point."""
    return [(_lead_title(curve), _lead(curve)) for curve in curves if curve.known]


def _lead_title(curve: LeadCurve) -> str:
    lead, missing = curve.lead, f"; still to be measured: {', '.join(curve.missing)}" if curve.missing else ""
    numbers = dict.fromkeys(point.effect.number for point in curve.known if point.effect)
    return f"{lead.title}: {lead.row} less {lead.against} on {lead.split} ({'; '.join(numbers)}){missing}"


def _lead(curve: LeadCurve) -> Any:
    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    known = [(point.world, point.place, point.effect) for point in curve.known]
    for world, place, effect in known:
        assert place is not None
        assert effect is not None
        colour = {True: _GOOD, False: _BAD, None: _OPEN}[effect.better]
        axes.plot([place.value] * 2, [effect.low, effect.high], color=colour, linewidth=1.6)
        axes.plot([place.low, place.high], [effect.value] * 2, color=colour, linewidth=0.8, alpha=0.6)
        axes.plot(place.value, effect.value, "o", color=colour, markersize=4.5)
        name = f"{_plain(world)} {TRAINED_ON}" if effect.trained_on else _plain(world)
        axes.annotate(name, (place.value, effect.value), textcoords="offset points", xytext=(5, 4), fontsize=7)
    axes.plot(
        [place.value for _, place, _ in known if place],
        [effect.value for _, _, effect in known if effect],
        color=_OPEN,
        linewidth=0.8,
        linestyle="--",
        zorder=0,
    )
    first = next(effect for _, _, effect in known if effect)
    side = {True: "up is better", False: "down is better", None: ""}[first.higher_is_better]
    axes.axhline(0, color="#1c2530", linewidth=0.8)
    axes.set_xlabel(curve.lead.axis, fontsize=8)
    axes.set_ylabel(
        f"{curve.lead.metric}: {_plain(curve.lead.row)} less {_plain(curve.lead.against)} ({side})", fontsize=8
    )
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    return figure


def frontiers(conclusions: Conclusions) -> list[tuple[str, Any]]:
    """What is gained and what is lost against the KL from the base: the points of grids, and the rows as measured."""
    figures = []
    known = [grid for grid in conclusions.grids if any(point.kl is not None for point in grid.points)]
    by_metrics: dict[tuple[str, str, str], list[GridResult]] = {}
    for grid in known:
        by_metrics.setdefault((grid.grid.best, grid.grid.keep or "", grid.grid.split), []).append(grid)
    for (best, keep, split), grids in by_metrics.items():
        figures.append((f"The frontier on {split}: every point of every grid", _grid_frontier(best, keep, grids)))
    for table in conclusions.tables[:1]:
        keys = [key for key in _FORESTS[:2] if key in table.keys]
        lines = [line for line in table.lines if line.kl is not None]
        if keys and lines:
            figures.append(
                (f"The frontier on {table.split}: rows as chosen, less the base", _row_frontier(table, keys, lines))
            )
    return figures


def _grid_frontier(best: str, keep: str, grids: Sequence[GridResult]) -> Any:
    metrics = [name for name in (best, keep) if name]
    figure, panels = _panels(metrics)
    for panel, name in zip(panels, ("best", "keep"), strict=False):
        for number, grid in enumerate(grids):
            points = [(point.kl, getattr(point, name), point.chosen) for point in grid.points]
            known = sorted((kl, value, chosen) for kl, value, chosen in points if kl is not None and value is not None)
            if not known:
                continue
            kls, values, chosen = zip(*known, strict=True)
            colour = f"C{number % 10}"
            marker = _MARKERS[number // 10 % len(_MARKERS)]
            panel.plot(kls, values, marker=marker, color=colour, markersize=4, linewidth=1, label=_plain(grid.row))
            taken = [index for index, is_chosen in enumerate(chosen) if is_chosen]
            panel.plot(
                [kls[index] for index in taken],
                [values[index] for index in taken],
                marker,
                markersize=9,
                fillstyle="none",
                color=colour,
            )
        base = next((getattr(grid.base, name) for grid in grids if grid.base), None)
        if base is not None:
            panel.plot(0, base, "*", color="#1c2530", markersize=11, label="base")
    _legend(figure, panels[0])
    return figure


def _row_frontier(table: MetricTable, keys: Sequence[Key], lines: Sequence[Line]) -> Any:
    figure, panels = _panels([f"{key.name} less the base's" for key in keys])
    for panel, key in zip(panels, keys, strict=True):
        column = table.keys.index(key)
        for number, line in enumerate(lines):
            if change := line.changes[column]:
                marker = _MARKERS[number // 10 % len(_MARKERS)]
                panel.plot(line.kl, change.value, marker, color=f"C{number % 10}", markersize=5, label=_plain(line.row))
        panel.plot(0, 0, "*", color="#1c2530", markersize=11, label="base")
    _legend(figure, panels[0])
    return figure


def _panels(metrics: Sequence[str]) -> tuple[Any, Sequence[Any]]:
    figure = new_figure(9.6, 4.6)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        panel.set_xlabel("KL from the base (nats a token)", fontsize=8)
        panel.set_ylabel(metric, fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    return figure, panels


def _plain(name: str) -> str:
    """A name that has room, and that matplotlib takes for no formula."""
    return clip(name, 32).replace("$", r"\$")


def _legend(figure: Any, panel: Any) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside right upper", ncols=1 + len(labels) // 24)
