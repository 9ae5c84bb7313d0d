"""Intervals by resampling images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from mmpref.bench.benchmark import Metric, Score, rate, ratio
from mmpref.bench.bootstrap import Clusters, Interval, percentile_interval, replicates
from mmpref.bench.paired import Pairs, change_of
from mmpref.bench.significance import bootstrap_p

MEAN = Metric("mean", "all", lambda sums: ratio(sums["x"], sums["n"]), "n")


def _scores(values: np.ndarray) -> list[Score]:
    return [Score("", {"x": float(value), "n": 1.0}) for value in values]


def _interval(clusters: Clusters, seed: int = 0) -> Interval:
    return percentile_interval(replicates(clusters, MEAN, seed))


def test_agrees_with_scipy_where_every_sample_has_its_own_image() -> None:
    values = np.random.default_rng(0).normal(size=200)
    ours = _interval(Clusters.of([str(i) for i in range(200)], _scores(values)))
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_samples_of_one_image_are_not_independent() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=30), 10)
    apart = _interval(Clusters.of([str(i) for i in range(300)], _scores(values)))
    together = _interval(Clusters.of([str(i // 10) for i in range(300)], _scores(values)))
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    ids = [str(i) for i in range(60)]
    found = [_interval(Clusters.of(ids, _scores(rng.normal(size=60))), i) for i in range(200)]
    covered = sum(one.low <= 0 <= one.high for one in found)
    assert 175 <= covered <= 200


def test_paired_differences_are_narrower_than_either() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=100)
    ids = [str(i) for i in range(100)]
    first, second = Clusters.of(ids, _scores(base)), Clusters.of(ids, _scores(base + 0.1 + 0.01 * rng.normal(size=100)))
    found = change_of(MEAN, first, second, Pairs(frozenset(), 0), 0)
    change, alone = percentile_interval(found.difference), _interval(first)
    assert change.low > 0.09
    assert change.high - change.low < 0.1 * (alone.high - alone.low)


def test_a_ratio_without_a_denominator_is_undefined() -> None:
    """But where an official scorer says otherwise."""
    assert str(ratio(np.array([0.0, 2.0]), np.array([0.0, 4.0])).tolist()) == "[nan, 0.5]"
    assert ratio(np.array([0.0, 2.0]), np.array([0.0, 4.0]), 0.0).tolist() == [0.0, 0.5]


def test_a_rate_over_nothing_has_no_value_and_no_interval() -> None:
    clusters = Clusters.of(["a", "b"], [Score("", {"wrong": 0.0, "mentions": 0.0})] * 2)
    for metric in (
        rate("chair_i", "all", "wrong", "mentions"),
        Metric("x", "all", lambda sums: sums["wrong"], "mentions"),
    ):
        values = replicates(clusters, metric, 0)
        assert np.isnan(values).all()
        assert np.isnan(percentile_interval(values)).all()


def test_the_same_seed_gives_the_same_interval() -> None:
    clusters = Clusters.of(["a", "b", "c"], _scores(np.array([1.0, 2.0, 4.0])))
    assert _interval(clusters, 5) == _interval(clusters, 5)


def test_resamples_without_any_sample_of_a_part_say_nothing_of_it() -> None:
    """Two of twelve images are of a part, and all that is asked about them is right."""
    scores = [
        Score("", {"right": 1.0, "n": 1.0, **({"part/right": 1.0, "part/n": 1.0} if number < 2 else {})})
        for number in range(12)
    ]
    clusters = Clusters.of([str(number) for number in range(12)], scores)
    metric = rate("accuracy", "part", "part/right", "part/n")
    values = replicates(clusters, metric, 0)
    assert 100 < np.isnan(values).sum() < 400, "some (10/12)^12 of 2000"
    assert percentile_interval(values) == Interval(1.0, 1.0, 1.0)
    change = change_of(metric, clusters, clusters, Pairs(frozenset(), 0), 0)
    assert percentile_interval(change.difference) == Interval(0.0, 0.0, 0.0)
    assert bootstrap_p(change.difference, change.changed) == 1.0
