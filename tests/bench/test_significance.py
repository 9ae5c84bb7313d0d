"""p-values against scipy, against all ways to swap, and against the level that they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mmpref.bench.benchmark import Metric, Score, rate
from mmpref.bench.bootstrap import Clusters, percentile_interval
from mmpref.bench.paired import Pairs, change_of
from mmpref.bench.significance import bootstrap_p, holm, mcnemar
from mmpref.run.results_text import stars


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20))
def test_with_one_question_an_image_it_is_mcnemars_exact_test(gained: int, lost: int, same: int) -> None:
    ours = mcnemar([1] * gained + [-1] * lost + [0] * same)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert ours == pytest.approx(expected)


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_with_several_it_counts_all_ways_to_swap_images(differences: list[int]) -> None:
    far = abs(sum(differences))
    ways = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    assert mcnemar(differences) == pytest.approx(np.mean([abs(way) >= far for way in ways]))


def test_a_tie_is_half_right() -> None:
    """A reward model against a base that values all answers alike: each pair is half an answer gained or lost."""
    assert mcnemar([0.5] * 9 + [-0.5]) == pytest.approx(binomtest(9, 10).pvalue)
    assert mcnemar([0.5] * 5) == pytest.approx(0.0625)


def test_many_images_are_quick_and_finite() -> None:
    rng = np.random.default_rng(0)
    assert 0 < mcnemar(rng.integers(-6, 7, size=3000).tolist()) <= 1
    assert mcnemar([1] * 9000) == pytest.approx(0.0)


@pytest.mark.parametrize("questions", [1, 6])
def test_equal_models_are_told_apart_no_more_often_than_promised(questions: int) -> None:
    """Questions of one image hang together here as much as they can."""
    rng = np.random.default_rng(1)
    found = [mcnemar((questions * rng.integers(-1, 2, size=60)).tolist()) < 0.05 for _ in range(400)]
    assert sum(found) <= 30


def _scores(values: np.ndarray) -> Clusters:
    return Clusters.of([str(i) for i in range(len(values))], [Score("", {"x": float(v), "n": 1.0}) for v in values])


def test_the_bootstraps_p_keeps_its_level_and_agrees_with_its_interval() -> None:
    metric = rate("mean", "all", "x", "n")
    rng = np.random.default_rng(2)
    found = []
    for seed in range(60):
        first, second = _scores(rng.normal(size=80)), _scores(rng.normal(size=80))
        change = change_of(metric, first, second, Pairs(frozenset(), 0), seed)
        p, interval = bootstrap_p(change.difference, change.changed), percentile_interval(change.difference)
        assert (p < 0.048) <= (interval.low > 0 or interval.high < 0) <= (p < 0.052)
        found.append(p < 0.05)
    assert sum(found) <= 8


def test_no_difference_is_no_evidence() -> None:
    assert bootstrap_p(np.zeros(2001), 80) == 1
    assert mcnemar([]) == mcnemar([0, 0]) == 1
    assert bootstrap_p(np.ones(2001), 80) == pytest.approx(2 / 2001)


@pytest.mark.parametrize(("changed", "least"), [(0, 1), (1, 1), (2, 0.5), (3, 0.25), (6, 1 / 32)])
def test_so_few_changes_are_no_better_evidence_than_exchanging_them_all(changed: int, least: float) -> None:
    assert bootstrap_p(np.ones(2001), changed) == least == mcnemar([1] * changed)


def test_an_image_has_changed_where_counts_of_the_metric_have() -> None:
    """Of a metric that is no quotient, any count."""
    counts = [{"x": 0.0, "n": 1.0, "words": 5.0}] * 4
    others = [{"x": 1.0, "n": 1.0}, {"x": 0.0, "n": 1.0, "words": 9.0}, counts[2], {"x": 0.0, "n": 2.0, "words": 5.0}]
    first, second = (Clusters.of("abcd", [Score("", one) for one in side]) for side in (counts, others))
    share, free = rate("share", "all", "x", "n"), Metric("free", "all", lambda sums: sums["x"] * 1.0, "n")
    nothing = Pairs(frozenset(), 0)
    assert change_of(share, first, second, nothing, 0).changed == 2
    assert change_of(free, first, second, nothing, 0).changed == 3
    assert change_of(free, first, first, nothing, 0).changed == 0


def test_equal_models_that_few_images_tell_apart_keep_the_level() -> None:
    """Five of 200 images change, this way or that: the bootstrap alone finds a difference in one of 16 such runs."""
    metric, kept = rate("mean", "all", "x", "n"), Pairs(frozenset(), 0)
    first, found = _scores(np.zeros(200)), []
    for signs in itertools.product((1, -1), repeat=5):
        change = change_of(metric, first, _scores(np.array([*signs, *[0] * 195])), kept, 0)
        found.append(bootstrap_p(change.difference, change.changed) < 0.05)
    assert not any(found)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(values: list[float]) -> None:
    corrected = holm(values)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
            if values[index] * (len(values) - rank) > level:
                break
            rejected.add(index)
        assert {i for i, p in enumerate(corrected) if p <= level} == rejected
    assert all(own <= one <= 1 for own, one in zip(values, corrected, strict=True))


def test_marks() -> None:
    assert [stars(p) for p in (None, 0.05, 0.049, 0.009, 0.0009)] == ["", "", "*", "**", "***"]
