"""The numbers of a training's end are means over enough of its last pairs, and every pair weighs the same."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mmpref.align.log_means import final_metrics, final_over, log_until, running_means

STEPS = [0.69, 0.66, 0.64, 0.62, 0.61, 0.6, 0.6, 0.6, 0.6, 0.9]
"""Losses of 296 pairs in steps of 32: the last one has 8, which are hard."""


def log(losses: list[float], *sizes: int) -> list[dict[str, Any]]:
    """A row a step; the last size is of all that follow."""
    of_steps = [*sizes, *[sizes[-1]] * (len(losses) - len(sizes))] if sizes else []
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    return [row | {"pairs": size} for row, size in zip(rows, of_steps, strict=True)] if of_steps else rows


def test_a_last_step_of_few_pairs_is_not_the_end_and_weighs_by_its_pairs() -> None:
    rows = log(STEPS, *[32] * 9, 8)
    assert final_over(rows) == {"first": 7, "last": 10, "rows": 4, "pairs": 104}
    assert final_metrics(rows)["loss"] == pytest.approx((0.6 * 96 + 0.9 * 8) / 104)


@pytest.mark.parametrize(
    ("sizes", "first", "pairs"),
    [
        ([32, 8], 1, 40),  # 8 are no half of 40
        ([32, 32, 8], 2, 40),
        ([32] * 10, 7, 128),
        ([32] * 100, 91, 320),  # a tenth
        ([1] * 400, 301, 100),
        ([1000, 1000, 1000], 3, 1000),
        ([8], 1, 8),
    ],
)
def test_the_end_is_a_tenth_of_the_pairs_or_a_hundred_or_half_of_few(sizes: list[int], first: int, pairs: int) -> None:
    over = final_over(log([1.0] * len(sizes), *sizes))
    assert (over["first"], over["last"], over["pairs"]) == (first, len(sizes), pairs)


@pytest.mark.parametrize(
    ("steps", "over"),
    [
        (range(1, 41), {"first": 37, "last": 40, "rows": 4}),
        (range(1, 11), {"first": 7, "last": 10, "rows": 4}),
        (range(10, 310, 10), {"first": 271, "last": 300, "rows": 3}),
        (range(1, 4), {"first": 2, "last": 3, "rows": 2}),
        ([5], {"first": 1, "last": 5, "rows": 1}),
        ([10, 20, 21], {"first": 11, "last": 21, "rows": 2}),
    ],
)
def test_where_pairs_are_not_counted_steps_are(steps: range, over: dict[str, int]) -> None:
    rows = [{"step": step, "loss": float(step)} for step in steps]
    assert final_over(rows) == over


def test_a_row_of_many_steps_weighs_more_than_one_of_few() -> None:
    rows = [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 1.0}, {"step": 21, "loss": 12.0}]
    assert final_metrics(rows)["loss"] == pytest.approx(2.0)


def test_the_mean_ends_with_the_kept_step() -> None:
    rows = log([float(step) for step in range(1, 81)], 64)
    assert final_over(log_until(rows, {"step": 20})) == {"first": 19, "last": 20, "rows": 2, "pairs": 128}


def test_what_a_row_does_not_have_has_no_part_in_its_mean() -> None:
    rows = log([1.0, 1.0], 40, 8)
    rows[0]["kl"] = 3.0
    assert final_metrics(rows) == {"loss": 1.0, "kl": 3.0}
    assert final_metrics([]) == {}


def test_a_running_mean_ends_with_what_is_told_of_the_end() -> None:
    """It begins with the first step, and none of its points is of the last, partial step alone."""
    rows = log(STEPS, *[32] * 9, 8)
    line = running_means(rows, "loss")
    assert line[0] == STEPS[0]
    assert line[4] == pytest.approx(sum(STEPS[1:5]) / 4)
    assert line[-1] == pytest.approx(final_metrics(rows)["loss"])
    assert max(line[5:]) < 0.63
    del rows[0]["loss"]
    line = running_means(rows, "loss")
    assert math.isnan(line[0])
    assert line[1] == STEPS[1]


def test_a_value_that_is_not_finite_is_in_no_later_mean() -> None:
    rows = [{"step": step, "pairs": 100, "kl": math.inf if step == 2 else 1.0} for step in range(1, 11)]
    assert running_means(rows, "kl") == [1.0, math.inf, *[1.0] * 8]
