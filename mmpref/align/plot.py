"""The plot of a training run: loss, margins or rewards, accuracies, log-probabilities, lengths, how far the policy
has gone, and benchmarks with what it was before at step 0. What a method does not log has no panel."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.align.log_means import running_means
from mmpref.run.files import write_atomic

_PANELS = (
    ("loss", {"loss": "loss"}),
    ("reward", {"reward": "of samples"}),
    ("margin (chosen - rejected reward)", {"rewards/margins": "chosen - rejected"}),
    ("accuracy (chosen reward higher; ties half)", {"rewards/accuracies": "accuracy"}),
    ("log-probability of the answers", {"logps/chosen": "chosen", "logps/rejected": "rejected"}),
    ("KL from the reference, per token", {"kl/chosen": "on chosen", "kl/rejected": "on rejected", "kl": "on samples"}),
    ("entropy of the next token", {"entropy": "entropy"}),
    (
        "tokens of the answers",
        {"lengths/chosen": "chosen", "lengths/rejected": "rejected", "completions/mean_length": "samples"},
    ),
)
_COLUMNS = 3
_LINES = "faint: as logged; lines: running means, in which every pair weighs the same"


def plot(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    evaluations: Sequence[Mapping[str, Any]] = (),
    best: Mapping[str, Any] | None = None,
    before: str = "base",
    product: str = "adapter",
    reward: str | None = None,
) -> None:
    """Write ``training.png``.

    Args:
        rows: of the log.
        evaluations: a row for each look at the benchmarks; of each benchmark its first metric is shown.
        best: the step that is kept, and the metric that chose it.
        before: what the policy was before the first step.
        product: what is trained: an ``adapter`` or a ``model``.
        reward: what the rewards of margins and accuracies are, which stands below the panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(title, known) for title, known in _PANELS if any(key in row for key in known for row in rows)]
    watched = _watched(evaluations, best)
    height = max(1, math.ceil((len(panels) + len(watched)) / _COLUMNS))
    figure = Figure(figsize=(13, 3.25 * height), dpi=110)
    # Margins as they are: a layout that is found by drawing takes longer than the drawing, and the end of a short run.
    figure.subplots_adjust(0.05, 0.75 / (3.25 * height), 0.985, 1 - 0.35 / (3.25 * height), wspace=0.22, hspace=0.35)
    said = "\n".join([*([_LINES] if panels else []), *([f"rewards: {reward}"] if reward else [])])
    figure.text(0.985, 0.03 / figure.get_figheight(), said, fontsize=8, ha="right", va="bottom", color="0.3")
    canvas = FigureCanvasAgg(figure)
    places = [figure.add_subplot(height, _COLUMNS, number + 1) for number in range(len(panels) + len(watched))]
    for axes, metric in zip(places[len(panels) :], watched, strict=False):
        _plot_watched(axes, metric, evaluations, best, before, product)
    for axes, (title, known) in zip(places, panels, strict=False):
        lines = {key: label for key, label in known.items() if any(key in row for row in rows)}
        _plot_logged(axes, rows, lines)
        _finish(axes, title, len(lines) > 1)
    content = io.BytesIO()
    canvas.print_png(content, metadata={"Software": None})
    write_atomic(path, content.getvalue())


def _plot_logged(axes: Any, rows: Sequence[Mapping[str, Any]], lines: Mapping[str, str]) -> None:
    """What steps logged, faint, and lines of the running means over their pairs: a step of few pairs says little."""
    steps = [row["step"] for row in rows]
    marker = "o" if len(rows) < 30 else ""
    for number, (key, label) in enumerate(lines.items()):
        color, logged = f"C{number}", [row.get(key, math.nan) for row in rows]
        axes.plot(steps, logged, color=color, alpha=0.3, marker=marker, markersize=3, linewidth=0.8)
        axes.plot(steps, running_means(rows, key), label=label, color=color, marker=marker, markersize=3, linewidth=1.4)


def _watched(evaluations: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> list[str]:
    """The metric that chose, and the first metric of every benchmark."""
    first: dict[str, str] = {}
    for name in dict.fromkeys(name for row in evaluations for name in row):
        if "/" in name:
            first.setdefault(name.split("/")[0], name)
    return list(dict.fromkeys([*([best["metric"]] if best else []), *first.values()]))


def _plot_watched(
    axes: Any,
    metric: str,
    evaluations: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any] | None,
    before: str,
    product: str,
) -> None:
    """A benchmark over the steps, with lines for what it was before and for the step that is kept."""
    steps, values = [row["step"] for row in evaluations], [row.get(metric, math.nan) for row in evaluations]
    axes.plot(steps, values, marker="o", markersize=3, linewidth=1.4, label=product)
    marked = steps[0] == 0 and not math.isnan(values[0])
    if marked:
        axes.axhline(values[0], color="0.4", linestyle="--", linewidth=1, label=f"{before} (step 0)")
    if best:
        axes.axvline(best["step"], color="tab:red", linestyle=":", linewidth=1.2, label=f"kept: step {best['step']}")
    _finish(axes, metric, marked or best is not None)


def _finish(axes: Any, title: str, legend: bool) -> None:
    axes.set_title(title, fontsize=10, loc="left", y=1.0)  # as it would be, but is not looked for
    axes.set_xlabel("step", fontsize=8)
    for axis, place in ((axes.xaxis, (0.5, -0.12)), (axes.yaxis, (-0.1, 0.5))):
        axis.set_label_coords(*place)  # else a quarter of the drawing is to find out how far the tick labels reach
    axes.locator_params(nbins=4)  # labels take most of the time
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=8)
