"""What a training says of itself at its end: what is drawn, and what is remarked."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmpref.align.plot import _plot_logged, _plot_watched, plot
from mmpref.align.summary import reference_text, remarks_on


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


def test_a_partial_last_step_does_not_end_the_line() -> None:
    """What steps logged is faint; the line is the mean over the last pairs, and ends where the summary does."""
    axes = Figure().add_subplot()
    rows = [{"step": step, "loss": 0.6, "pairs": 32} for step in range(1, 10)] + [{"step": 10, "loss": 0.9, "pairs": 8}]
    _plot_logged(axes, rows, {"loss": "loss"})
    faint, line = axes.get_lines()
    assert list(faint.get_ydata()) == [0.6] * 9 + [0.9]
    assert faint.get_alpha() < 0.5
    assert faint.get_color() == line.get_color()
    assert line.get_ydata()[-1] == pytest.approx((0.6 * 96 + 0.9 * 8) / 104)
    assert line.get_label() == "loss"


@pytest.mark.parametrize(
    ("moving", "began", "reference"),
    [
        (None, False, "the base model"),
        (None, True, "the policy that training went on from"),
        ((8, 8), False, "the base model"),
        ((4, 8), False, "the reference, which was the policy of at most 4 steps before"),
        ((1, 8), True, "the reference, which was the policy of at most 1 step before"),
    ],
)
def test_a_remark_names_what_the_chosen_answers_became_less_likely_than(
    moving: tuple[int, int] | None, began: bool, reference: str
) -> None:
    """A reference that moves is not the base: against that they may have become likelier."""
    final = {"chosen_log_ratio": -0.5, "rejected_log_ratio": -2.0}
    [*_, remark] = remarks_on(final, moving=moving, reference=reference_text(moving, began))
    assert f"The chosen answers became less likely than under {reference}: the margin was won" in remark
