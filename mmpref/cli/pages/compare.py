"""One HTML file about evaluations side by side: tables, plots, answers to read. No network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmpref.bench.compare import Comparison
from mmpref.bench.disagreements import Disagreement, SampleImages, disagreements
from mmpref.bench.finished_model import FinishedModel, first_with, headlines
from mmpref.bench.no_worse import LEGEND, columns_and_rows, summary
from mmpref.cli.arms import ARM_COLUMNS, arm_legend, arm_rows, over
from mmpref.cli.format import (
    against_each_other,
    comparison_over,
    comparison_verdict,
    difference_columns,
    difference_rows,
    legend,
    missing_rows,
    remarks_of,
    short_names,
    value_rows,
)
from mmpref.cli.pages.html import as_png, data_url, error_bars, figure_png, marked, new_figure, render, verdict_facts
from mmpref.errors import ImageError
from mmpref.run.results import Key

SHOWN = 4
"""Wins, and losses, that are shown of each benchmark."""

PLANES = (("chair", "recall", "chair_i", "all", "words"), ("amber", "cover_lexical", "chair_lexical", "caption", None))
"""Benchmark, metric across (higher is better), metric up (lower is better), part, and what stands beside a point."""


def page(comparison: Comparison, title: str = "Evaluation runs side by side") -> str:
    """The page of a comparison: its verdict, then everything else, tables folded."""
    names = short_names(comparison)
    plots = [*_planes(comparison.columns), *_bars(comparison.columns)]
    return render(
        "compare.html.j2",
        title=title,
        remarks=remarks_of(comparison),
        verdict=verdict_facts(*comparison_verdict(comparison)),
        over=comparison_over(comparison),
        against_each_other=against_each_other(comparison),
        margins=columns_and_rows(comparison.no_worse, dict(zip(comparison.models, names, strict=True))),
        margins_summary=f"{summary(comparison.no_worse)} {LEGEND}",
        arm_columns=ARM_COLUMNS,
        arms=arm_rows(comparison),
        arm_legend=f"The intervals are over {over(comparison)}. {arm_legend(comparison)}",
        models=list(zip(names, comparison.models, strict=True)),
        rows=value_rows(comparison),
        differences=difference_rows(comparison),
        difference_columns=difference_columns(names),
        missing=missing_rows(comparison),
        legend=legend(comparison.claims),
        warnings=comparison.warnings,
        disagreements=_disagreements(comparison.columns),
        plots=[{"title": title, "image": data_url(figure_png(figure))} for title, figure in plots],
    )


def _planes(columns: Sequence[FinishedModel]) -> list[tuple[str, Any]]:
    """Hallucination against recall, with intervals and length: down and right is better."""
    figures = []
    for benchmark in dict.fromkeys(name for column in columns for name in column.benchmarks):
        for name, across, up, part, label in PLANES:
            if benchmark != name and not benchmark.startswith(f"{name}-blind"):
                continue
            figure = new_figure(5.4, 3.8)
            axes = figure.subplots()
            for column in columns:
                x, y = (column.values.get(Key(benchmark, metric, part)) for metric in (across, up))
                if not (x and y and x.is_defined and y.is_defined):
                    continue
                axes.errorbar(
                    x.value, y.value, xerr=error_bars(x), yerr=error_bars(y), fmt="o", capsize=3, label=column.name
                )
                if label and (length := column.values.get(Key(benchmark, label, part))):
                    axes.annotate(
                        f"{length.value:.1f} {label}",
                        (x.value, y.value),
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


def _bars(columns: Sequence[FinishedModel]) -> list[tuple[str, Any]]:
    """The headline metrics of benchmarks with several parts, part by part."""
    figures = []
    for benchmark, metric, _ in headlines(columns):
        first = first_with(columns, benchmark)
        parts = [key.part for key in first.values if key[:2] == (benchmark, metric)]
        if len(parts) < 2:
            continue
        figure = new_figure(min(12.0, 2.4 + 0.9 * len(parts)), 3.6)
        axes = figure.subplots()
        width = 0.8 / len(columns)
        for number, column in enumerate(columns):
            bars = [
                (place, value)
                for place, part in enumerate(parts)
                if (value := column.values.get(Key(benchmark, metric, part)))
            ]
            if bars:
                axes.bar(
                    [place + (number - (len(columns) - 1) / 2) * width for place, _ in bars],
                    [value.value for _, value in bars],
                    width,
                    label=column.name,
                    capsize=2,
                    yerr=[[error_bars(value)[i][0] for _, value in bars] for i in range(2)],
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


def _disagreements(columns: Sequence[FinishedModel]) -> list[dict[str, Any]]:
    """For each headline metric: what each column wins and loses against the first one that has the benchmark."""
    groups, images = [], SampleImages()
    for key in headlines(columns):
        first = first_with(columns, key.benchmark)
        for column in columns:
            if column is first or key not in column.values:
                continue
            differing = disagreements(first, column, key, SHOWN, images)
            if differing.wins or differing.losses:
                groups.append(
                    {
                        "title": f"{key.name}: {column.name} against {first.name}",
                        "names": (first.name, column.name),
                        "count": differing.count,
                        "groups": [
                            ("better", differing.wins, [_shown(row) for row in differing.won]),
                            ("worse", differing.losses, [_shown(row) for row in differing.lost]),
                        ],
                    }
                )
    return groups


def _shown(row: Disagreement) -> dict[str, Any]:
    try:
        images = [data_url(as_png(image.content)) for image in row.images]
    except ImageError:
        images = []
    return {
        "images": images,
        "prompt": row.prompt,
        "reference": _plain(json.loads(row.reference)),
        "first": marked(row.second, row.first),
        "second": marked(row.first, row.second),
    }


def _plain(reference: Any) -> str:
    """A reference as a reader wants it: the answer or the objects, where it has them; else all of it, by its names."""
    if isinstance(reference, dict):
        known = next((name for name in ("answer", "truth", "objects") if name in reference), None)
        if known is None:
            return "; ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in reference.items())
        reference = reference[known]
    return ", ".join(dict.fromkeys(map(str, reference))) if isinstance(reference, list) else str(reference)
