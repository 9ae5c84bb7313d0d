"""The picture of a dataset's statistics: similarity, how much differs, lengths, and pairs resolved per try."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.run.build_report import resolved_shares
from mmpref.run.files import write_atomic

PICTURE = "statistics.png"


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Write ``statistics.png`` from `mmpref.data.stats.build_report`'s report; what was not measured has no panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [
        draw
        for draw, shown in (
            (_similarity, sum(report["similarity"]["counts"]) > 0),
            (_differing, True),
            (_words, True),
            (_resolved, len(report["resolved"]) > 1),
        )
        if shown
    ]
    width = 3.6 * len(panels)
    figure = Figure(figsize=(width, 2.8), dpi=110)
    # Margins as they are: a layout that is found by drawing takes longer than the drawing.
    figure.subplots_adjust(0.65 / width, 0.11, 1 - 0.12 / width, 0.9, wspace=0.28)
    canvas = FigureCanvasAgg(figure)
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        draw(axes, report)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=4)
        for axis, place in ((axes.xaxis, (0.5, -0.1)), (axes.yaxis, (-0.17, 0.5))):
            axis.set_label_coords(*place)  # else a quarter of the drawing is to find out how far the tick labels reach
    content = io.BytesIO()
    canvas.print_png(content, metadata={"Software": None})
    write_atomic(path, content.getvalue())


def _bars(axes: Any, edges: list[float], counts: list[int], title: str) -> None:
    axes.stairs(counts, edges, fill=True, alpha=0.75)
    axes.set_title(title, fontsize=9, loc="left", y=1.0)
    axes.set_ylabel("pairs", fontsize=8)


def _similarity(axes: Any, report: Mapping[str, Any]) -> None:
    bins = report["similarity"]
    # The first bin holds all that is not above 0; at its own width it would look like most.
    _bars(axes, [bins["edges"][1] - 0.05, *bins["edges"][1:]], bins["counts"], "similarity of rejected to chosen")


def _differing(axes: Any, report: Mapping[str, Any]) -> None:
    bins = report["histograms"]["differing_words"]
    _bars(axes, bins["edges"], bins["counts"], "share of words that differ")


def _words(axes: Any, report: Mapping[str, Any]) -> None:
    bins = report["histograms"]["words"]
    for column in ("chosen", "rejected"):
        axes.stairs(bins[column], bins["edges"], label=column, linewidth=1.4)
    axes.set_title("words of an answer", fontsize=9, loc="left", y=1.0)
    axes.legend(frameon=False, fontsize=8)


def _resolved(axes: Any, report: Mapping[str, Any]) -> None:
    tries = [row["try"] for row in report["resolved"]]
    axes.plot(tries, resolved_shares(report), marker="o", markersize=3)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(tries)
    axes.set_title("share of pairs resolved by try", fontsize=9, loc="left", y=1.0)
