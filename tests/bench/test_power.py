"""The number of images that is promised is the number that it takes: by simulation, with the tests that are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpref.bench.bootstrap import Clusters, percentile_interval
from mmpref.bench.power import Spread, assumed, spreads
from mmpref.bench.significance import mcnemar
from mmpref.errors import InputError, UsageError
from tests.bench.finished_runs import finished_run

RUNS = 150


def test_assumed_rates_by_mcnemars_test() -> None:
    """A difference of 5 points where 20 % of the answers change: seen in 80 % of runs, seldom on a quarter of them."""
    difference, changed, rng = 0.05, 0.2, np.random.default_rng(0)
    spread = assumed(0.8, changed)
    images = spread.images_needed(difference)
    seen = dict.fromkeys((1, 4), 0)
    for factor in seen:
        for _ in range(RUNS):
            count = images // factor
            worse, better = (changed - difference) / 2, (changed + difference) / 2
            gains = rng.choice([-1, 0, 1], size=count, p=[worse, 1 - changed, better])
            seen[factor] += mcnemar(gains.tolist()) < 0.05
    # McNemar's exact test keeps its level below 5 %, so that it sees a little less than promised.
    assert 0.70 < seen[1] / RUNS < 0.86
    assert spread.power_of(images // 4, difference) == pytest.approx(0.29, abs=0.01)
    assert 0.15 < seen[4] / RUNS < 0.35


def test_records_whose_questions_hang_together_by_the_bootstrap() -> None:
    """Six questions an image that share a part of their luck: by the variance that a pilot's resamples have."""
    rng = np.random.default_rng(1)

    def gains(images: int, difference: float) -> np.ndarray:
        """[images]: right answers of six that the second model has more, which are one third the image's own luck."""
        own = rng.normal(difference, 0.2, size=(images, 1)) + rng.normal(0, 0.3, size=(images, 6))
        mean: np.ndarray = own.mean(1)
        return mean

    pilot = Clusters(("gain",), gains(400, 0.0)[:, None]).resampled(0)["gain"] / 400
    variance = 400 * float(np.var(pilot[1:]))
    assert variance == pytest.approx(0.2**2 + 0.3**2 / 6, rel=0.2)
    images = Spread(None, "", variance).images_needed(0.06)
    seen = 0
    for run in range(RUNS):
        values = Clusters(("gain",), gains(images, 0.06)[:, None]).resampled(run)["gain"] / images
        interval = percentile_interval(values)
        seen += interval.low > 0 or interval.high < 0
    assert 0.70 < seen / RUNS < 0.89


def test_the_three_are_one_formula() -> None:
    for power in (0.5, 0.8, 0.95):
        for spread in (Spread(None, "", 0.1), Spread(None, "", 0.001, 1.0), Spread(None, "", 0.01, 0.5, 0.005)):
            images = spread.images_needed(0.02, power)
            assert spread.power_of(images, 0.02) == pytest.approx(power, abs=0.004)
            assert spread.smallest_difference(images, power) == pytest.approx(0.02, rel=0.005)


def test_two_models_that_know_nothing_of_each_other_are_a_bound() -> None:
    spread = assumed(0.85)
    assert spread.bound
    assert spread.variance == pytest.approx(2 * 0.85 * 0.15)
    with pytest.raises(UsageError, match="cannot be right of one model alone"):
        assumed(0.9, 0.3)


def test_no_more_can_differ_than_changes() -> None:
    with pytest.raises(UsageError, match="of the answers change, no difference can be"):
        assumed(0.85, 0.01, 0.02)
    assert assumed(0.85, 0.02, 0.02).variance == 0.02


def _seen(images: int, difference: float, both_ways: float, together: bool, seed: int) -> float:
    """How often four questions an image, which change one by one or together, show a true difference: the interval
    excludes 0 and p is below 0.05."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((RUNS, images, 1 if together else 4))
    gains = ((drawn < difference + both_ways).astype(int) - (drawn > 1 - both_ways)).sum(2)  # [runs, images]
    weights = rng.multinomial(images, np.full(images, 1 / images), size=500)
    low, high = np.quantile(gains @ weights.T, [0.025, 0.975], axis=1)
    rare = np.array([mcnemar(row.tolist()) < 0.05 for row in gains])
    return float((rare & ((low > 0) | (high < 0))).mean())


def _pilot(path: Path, images: int, changed: int, size: float) -> Spread:
    """Of a run with four questions an image, of which one or all (`size`) changed on so many images."""
    base = np.arange(images) % 5 / 8
    (spread,) = spreads([finished_run(path, {"base": base, "adapter": base + size * (np.arange(images) < changed)})])
    return spread


@pytest.mark.parametrize(("pilot", "together", "needed"), [(60, False, 99), (240, True, 393)])
def test_a_difference_is_seen_on_the_images_planned_by_a_pilot_in_which_one_answer_changed(
    tmp_path: Path, pilot: int, together: bool, needed: int
) -> None:
    """However little changed there, a difference of 2 points takes 2 points of changed answers."""
    spread = _pilot(tmp_path / "run", pilot, 1, 1.0 if together else 0.25)
    images = spread.images_needed(0.02)
    assert needed <= images < 1.5 * needed
    assert _seen(images, 0.02, 0.0, together, 3) > 0.75
    assert _seen(needed // 3, 0.02, 0.0, together, 3) < 0.3
    assert spread.power_of(needed // 3, 0.02) < 0.4
    assert (spread.samples_changed, spread.samples) == (1, pilot)


def test_what_changes_both_ways_is_no_part_of_a_difference() -> None:
    """Of a pilot without a difference in which 4 % of the answers changed: 2 % more change where it is 2 points."""
    spread = Spread(None, "", 0.04 / 4, 0.25, 0.04 / 4)
    images = spread.images_needed(0.02)
    assert 0.7 < _seen(images, 0.02, 0.02, False, 4) < 0.9


def test_a_pilot_whose_answers_did_not_change_is_no_promise(tmp_path: Path) -> None:
    """Of an adapter that changed nothing on 30 images two would be enough."""
    right = (np.arange(30) % 3 > 0).astype(float)
    (spread,) = spreads([finished_run(tmp_path / "run", {"base": right, "adapter": right})])
    assert spread.bound
    assert spread.variance == pytest.approx(2 * (2 / 3) * (1 / 3), rel=0.1)
    with pytest.raises(InputError, match="differs from image to image"):
        spreads([finished_run(tmp_path / "all", {"base": np.ones(30), "adapter": np.ones(30)})])


def test_a_run_without_resamples_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"models": [{"name": "base"}], "results": []}')
    (tmp_path / "run.json").write_text('{"command": "evaluate", "recipe": {}}')
    with pytest.raises(InputError, match="No run has resamples"):
        spreads([tmp_path])
