"""One HTML file about evaluations side by side: tables, plots, answers to read. No network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpref.bench.compare import Comparison
from mmpref.bench.disagreements import Turn, headlines, turns
from mmpref.bench.finished import Column, read_columns, reference
from mmpref.cli.format import claims, difference_columns, difference_rows, legend, metric_name, missing_rows, value_rows
from mmpref.cli.pages.html import as_png, data_url, figure_png, marked, new_figure, render
from mmpref.errors import ImageError

SHOWN = 4
"""Wins, and losses, that are shown of each benchmark."""

PLANES = (("chair", "recall", "chair_i", "all", "words"), ("amber", "cover_lexical", "chair_lexical", "caption", None))
"""Benchmark, metric across (higher is better), metric up (lower is better), part, and what stands beside a point."""


def page(runs: Sequence[Path], found: Comparison) -> str:
    """The page of a comparison."""
    columns = read_columns(runs)
    plots = [*_planes(columns), *_bars(columns)]
    return render(
        "compare.html.j2",
        models=found.models,
        rows=value_rows(found),
        differences=difference_rows(found),
        difference_columns=difference_columns(found),
        missing=missing_rows(found),
        legend=legend(claims(found)),
        warnings=found.warnings,
        readings=_readings(columns),
        plots=[{"title": title, "image": data_url(figure_png(figure))} for title, figure in plots],
    )


def _planes(columns: Sequence[Column]) -> list[tuple[str, Any]]:
    """Hallucination against recall, with intervals and length: down and right is better."""
    figures = []
    for benchmark in dict.fromkeys(key[0] for column in columns for key in column.found):
        for name, across, up, part, beside in PLANES:
            if benchmark != name and not benchmark.startswith(f"{name}-blind"):
                continue
            figure = new_figure(5.4, 3.8)
            axes = figure.subplots()
            for column in columns:
                x, y = (column.found.get((benchmark, metric, part)) for metric in (across, up))
                if not x or not y:
                    continue
                axes.errorbar(
                    x["value"], y["value"], xerr=_error(x), yerr=_error(y), fmt="o", capsize=3, label=column.name
                )
                if beside and (length := column.found.get((benchmark, beside, part))):
                    axes.annotate(
                        f"{length['value']:.1f} {beside}",
                        (x["value"], y["value"]),
                        fontsize=8,
                        textcoords="offset points",
                        xytext=(6, 5),
                    )
            axes.set_xlabel(f"{across} (right is better)")
            axes.set_ylabel(f"{up} (down is better)")
            axes.grid(alpha=0.3)
            figure.legend(fontsize=8, loc="outside upper center", ncols=2)
            figures.append((f"{benchmark}: hallucination against recall", figure))
    return figures


def _bars(columns: Sequence[Column]) -> list[tuple[str, Any]]:
    """The headline metrics of benchmarks with several parts, part by part."""
    figures = []
    for benchmark, metric, _ in headlines(columns):
        first = reference(columns, benchmark)
        parts = [key[2] for key in first.found if key[:2] == (benchmark, metric)]
        if len(parts) < 2:
            continue
        figure = new_figure(min(12.0, 2.4 + 0.9 * len(parts)), 3.6)
        axes = figure.subplots()
        width = 0.8 / len(columns)
        for number, column in enumerate(columns):
            shown = [
                (place, row) for place, part in enumerate(parts) if (row := column.found.get((benchmark, metric, part)))
            ]
            if shown:
                axes.bar(
                    [place + (number - (len(columns) - 1) / 2) * width for place, _ in shown],
                    [row["value"] for _, row in shown],
                    width,
                    label=column.name,
                    capsize=2,
                    yerr=[[_error(row)[i][0] for _, row in shown] for i in range(2)],
                )
        axes.set_xticks(
            range(len(parts)),
            parts,
            rotation=0 if len(parts) < 6 else 30,
            ha="center" if len(parts) < 6 else "right",
            fontsize=8,
        )
        axes.set_ylabel(metric)
        axes.grid(axis="y", alpha=0.3)
        figure.legend(fontsize=8, loc="outside upper center", ncols=2)
        figures.append((f"{benchmark}: {metric} by part", figure))
    return figures


def _error(row: dict[str, Any]) -> list[list[float]]:
    return [[max(0.0, row["value"] - row["low"])], [max(0.0, row["high"] - row["value"])]]


def _readings(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """For each headline metric: what each column wins and loses against the first one that has the benchmark."""
    readings = []
    for key in headlines(columns):
        first = reference(columns, key[0])
        for column in columns:
            if column is first or key not in column.found:
                continue
            found = turns(first, column, key, SHOWN)
            if found.wins or found.losses:
                readings.append(
                    {
                        "title": f"{metric_name(key)}: {column.name} against {first.name}",
                        "names": (first.name, column.name),
                        "groups": [
                            ("better", found.wins, [_shown(turn) for turn in found.won]),
                            ("worse", found.losses, [_shown(turn) for turn in found.lost]),
                        ],
                    }
                )
    return readings


def _shown(turn: Turn) -> dict[str, Any]:
    try:
        image = data_url(as_png(turn.image.content)) if turn.image else None
    except ImageError:
        image = None
    reference = json.loads(turn.reference)
    return {
        "image": image,
        "prompt": turn.prompt,
        "reference": _plain(reference),
        "first": marked(turn.second, turn.first),
        "second": marked(turn.first, turn.second),
    }


def _plain(reference: Any) -> str:
    """A reference as a reader wants it: the answer, where it has one."""
    value = reference.get("answer", reference.get("truth", reference)) if isinstance(reference, dict) else reference
    return ", ".join(map(str, dict.fromkeys(map(str, value)))) if isinstance(value, list) else str(value)
