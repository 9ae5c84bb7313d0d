"""Arms of several runs as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmpref.log import counted
from mmpref.run.asked import marked, meanings
from mmpref.run.results import ALL
from mmpref.run.results_text import decimals, interval_text, p_value_text, verdict_of

if TYPE_CHECKING:
    from mmpref.bench.arms import ArmEffect
    from mmpref.bench.compare import Comparison

ARM_COLUMNS = (
    "metric",
    "arm",
    "mean",
    "over images alone",
    "runs",
    "SD seeds",
    "seed share",
    "SD judges",
    "verdict, p",
)
_LEGEND = (
    "SD seeds: of a run's value over seeds. Seed share: how much of the variance of the mean is seed, the rest being "
    "images. Over images alone: of these very adapters, as if they had no seed. SD judges: of the judges' means. p: "
    "over {over}, of headline metrics corrected by Holm's method."
)


def over(comparison: Comparison) -> str:
    """What the intervals of arms are over: one run has no spread of seeds."""
    seeds = [effect.seeds > 1 for effect in comparison.arms]
    if not any(seeds):
        return "images"
    return "seeds and images" + ("" if all(seeds) else " (of one run over images)")


def arm_legend(comparison: Comparison) -> str:
    """How `arm_rows` are to be read."""
    return _LEGEND.format(over=over(comparison)) + meanings(effect.marks for effect in comparison.arms)


def arm_rows(comparison: Comparison) -> list[list[str]]:
    """A row for each headline metric of each arm: its mean, then its differences."""
    shown = [effect for effect in comparison.arms if effect.headline and effect.key.part == ALL]
    shown = shown or [effect for effect in comparison.arms if effect.headline] or list(comparison.arms)
    order = list(dict.fromkeys(effect.key for effect in shown))
    return [_row(effect) for key in order for effect in shown if effect.key == key]


def _row(effect: ArmEffect) -> list[str]:
    found, signed = effect.estimate, effect.against is not None
    digits = decimals(found.value)
    alone = effect.over_images
    runs = f"{effect.seeds}" + (f" x {counted(effect.judges, 'judge')}" if effect.judges > 1 else "")
    p = effect.p if effect.p_holm is None else effect.p_holm
    verdict = verdict_of(found.low, found.high, effect.higher_is_better, p)
    return [
        effect.key.name,
        effect.arm + (f" - {effect.against}" if signed else ""),
        interval_text(found.value, found.low, found.high, signed=signed, digits=digits),
        interval_text(alone.value, alone.low, alone.high, signed=signed, digits=digits).partition(" ")[2],
        runs,
        _number(effect.seed_deviation, digits),
        "–" if math.isnan(effect.seed_share) else f"{effect.seed_share:.0%}",
        _number(effect.judge_deviation, digits),
        f"{marked(verdict, effect.marks)}, {p_value_text(effect.p, effect.p_holm)}" if signed else "",
    ]


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
