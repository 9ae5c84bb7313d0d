"""The rule of a grid, on made-up numbers."""

from __future__ import annotations

import math

import pytest

from mmpref.errors import RunError
from mmpref.run.results import Key
from mmpref.study.choice import Choice, choose, points
from mmpref.study.grid import Grid
from mmpref.study.measurement import Measurement, MetricValue

GRID = Grid({"lr": [1, 2, 3]}, "chair chair_i", "chair recall", within=0.02)


def _measured(lr: int, chair_i: float, recall: float) -> Measurement:  # lr 0: the base
    values = (
        MetricValue(Key("chair", "chair_i", "all"), chair_i, 100, False),
        MetricValue(Key("chair", "recall", "all"), recall, 100, True),
        MetricValue(Key("chair", "words", "all"), 20.0, 100, None),
    )
    return Measurement(row="bdhs", split="dev", base=0, seed=0, point={"lr": lr} if lr else {}, values=values)


BASE = _measured(0, 0.15, 0.80)


def test_the_lowest_hallucination_whose_recall_is_kept() -> None:
    found = [_measured(1, 0.12, 0.81), _measured(2, 0.10, 0.79), _measured(3, 0.02, 0.70)]
    assert choose(GRID, BASE, found) == Choice({"lr": 2})


def test_recall_is_kept_up_to_the_edge() -> None:
    found = [_measured(1, 0.12, 0.81), _measured(2, 0.10, 0.80 - 0.02)]
    assert choose(GRID, BASE, found).point == {"lr": 2}


def test_where_none_keeps_it_the_highest_recall_is_taken_and_marked() -> None:
    found = [_measured(1, 0.12, 0.71), _measured(2, 0.01, 0.70)]
    assert choose(GRID, BASE, found) == Choice({"lr": 1}, outside=True)


def test_of_equals_the_first() -> None:
    found = [_measured(lr, 0.1, 0.8) for lr in (1, 2, 3)]
    assert choose(GRID, BASE, found).point == {"lr": 1}


def test_a_grid_that_keeps_nothing_takes_the_best() -> None:
    free = Grid({"lr": [1, 2]}, "chair recall", None)
    assert choose(free, None, [_measured(1, 0, 0.7), _measured(2, 0, 0.9)]).point == {"lr": 2}


@pytest.mark.parametrize(("metric", "said"), [("chair words", "has no better"), ("chair f1", "was not measured")])
def test_a_metric_that_cannot_choose_is_named(metric: str, said: str) -> None:
    with pytest.raises(RunError, match=f"{metric}.*{said}.*chair chair_i, chair recall"):
        choose(Grid({"lr": [1]}, metric), None, [_measured(1, 0.1, 0.8)])


def test_points_are_all_combinations() -> None:
    grid = Grid({"a": [1, 2], "b": ["x", "y"]}, "chair recall")
    assert points(grid) == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_an_undefined_metric_is_never_the_best() -> None:
    free = Grid({"lr": [1, 2]}, "chair chair_i", None)
    silent, sound = _measured(1, math.nan, 0.0), _measured(2, 0.1, 0.8)
    assert choose(free, None, [silent, sound]).point == {"lr": 2}
    assert choose(GRID, BASE, [_measured(1, 0.1, math.nan), _measured(2, 0.1, 0.5)]) == Choice({"lr": 2}, outside=True)


@pytest.mark.parametrize(
    ("base", "points_", "said"),
    [
        (BASE, [(1, math.nan, 0.8), (2, math.nan, 0.8)], "chair chair_i.*at no point of row 'bdhs'"),
        (BASE, [(1, 0.1, math.nan), (2, 0.1, math.nan)], "chair recall.*at no point"),
        (_measured(0, 0.1, math.nan), [(1, 0.1, 0.8)], "chair recall.*not of the base"),
    ],
)
def test_nothing_is_chosen_by_what_is_undefined_everywhere(
    base: Measurement, points_: list[tuple[int, float, float]], said: str
) -> None:
    with pytest.raises(RunError, match=said):
        choose(GRID, base, [_measured(*one) for one in points_])
