"""What a training says of itself at its end: which steps a number is the mean over, and what is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmpref.align.plot import _plot_watched, plot
from mmpref.align.summary import final_metrics, final_steps, log_until


@pytest.mark.parametrize(
    ("steps", "over"),
    [
        (range(1, 41), {"first": 37, "last": 40, "rows": 4}),
        (range(10, 310, 10), {"first": 271, "last": 300, "rows": 3}),
        (range(1, 4), {"first": 3, "last": 3, "rows": 1}),
        ([5], {"first": 1, "last": 5, "rows": 1}),
    ],
)
def test_the_steps_of_a_mean(steps: range, over: dict[str, int]) -> None:
    rows = [{"step": step, "loss": float(step)} for step in steps]
    assert final_steps(rows) == over
    last = [row["loss"] for row in rows if row["step"] >= over["first"]]
    assert final_metrics(rows)["loss"] == sum(last) / len(last)


def test_the_mean_ends_with_the_kept_step() -> None:
    rows = [{"step": step, "loss": float(step)} for step in range(1, 81)]
    assert final_steps(log_until(rows, {"step": 20})) == {"first": 19, "last": 20, "rows": 2}


@pytest.mark.usefixtures("pictures")
def test_benchmarks_have_panels_of_their_own(tmp_path: Path) -> None:
    """One of each benchmark, and one of the metric that chose; three in a line."""
    rows = [{"step": step, "loss": 1.0} for step in range(1, 5)]
    looks = [
        {"step": step, "pope/accuracy": 0.5 + step / 100, "pope/f1": 0.5, "chair/chair_i": 0.2, "chair/recall": 0.6}
        for step in (0, 2, 4)
    ]
    best = {"step": 2, "metric": "chair/recall", "value": 0.6, "base": 0.6}
    plot(rows, tmp_path / "bare.png")
    plot(rows, tmp_path / "watched.png", looks)
    plot(rows, tmp_path / "chosen.png", looks, best)
    heights = [Image.open(tmp_path / f"{name}.png").height for name in ("bare", "watched", "chosen")]
    assert heights[0] == heights[1] < heights[2]
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in ("bare", "watched", "chosen")}) == 3


def test_a_benchmarks_panel_begins_with_step_0_and_has_a_line_at_it() -> None:
    axes = Figure().add_subplot()
    looks = [{"step": step, "pope/accuracy": 0.5 + step / 100} for step in (0, 2, 4)]
    _plot_watched(axes, "pope/accuracy", looks, None, "first adapter", "adapter")
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
    assert lines["adapter"] == ([0, 2, 4], [0.5, 0.52, 0.54])
    assert lines["first adapter (step 0)"][1] == [0.5, 0.5]
