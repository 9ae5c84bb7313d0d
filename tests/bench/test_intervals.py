"""Intervals over units and images, against worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from mmpref.bench.intervals import Estimate, estimate, image_draws

IMAGES, SEEDS, TRUTH = 80, 3, -0.02
DRAWS = image_draws(0, IMAGES)[:401]


def _units(
    rng: np.random.Generator, units: int, between: float, of_seeds: float, of_images: float, rest: float
) -> np.ndarray:
    """Effects of units in the data and in every resample: unit + seed in unit + image (in all units alike) + rest."""
    effects = (
        TRUTH + rng.normal(0, between, (units, 1)) + rng.normal(0, of_seeds, (units, SEEDS)).mean(1, keepdims=True)
    )
    effects = effects + rng.normal(0, of_images, IMAGES) + rng.normal(0, rest, (units, SEEDS, IMAGES)).mean(1)
    return effects @ DRAWS.T / IMAGES


def _coverage(units: int, parts: tuple[float, float, float, float], worlds: int = 250) -> float:
    rng = np.random.default_rng(7)
    estimates = [estimate(_units(rng, units, *parts), world) for world in range(worlds)]
    return float(np.mean([one.low <= TRUTH <= one.high for one in estimates]))


MIXTURES = {
    "units differ": (0.02, 0.003, 0.05, 0.1),
    "some of each": (0.006, 0.003, 0.06, 0.1),
    "images alike in all units": (0.0, 0.0, 0.2, 0.02),
    "nothing but rest": (0.0, 0.0, 0.0, 0.2),
}


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("units", [3, 5])
def test_intervals_hold_the_truth_of_all_units(units: int, mixture: str) -> None:
    assert _coverage(units, MIXTURES[mixture]) >= 0.92  # 250 worlds: two standard errors below 0.95 are 0.922


def test_with_one_unit_the_interval_is_over_images_alone() -> None:
    assert _coverage(1, (0.0, 0.0, 0.2, 0.05)) >= 0.91
    assert _coverage(1, (0.02, 0.0, 0.05, 0.05)) < 0.7, "of other units it must know nothing, or the text is wrong"


def test_few_units_that_differ_make_a_wide_interval() -> None:
    """The bootstrap alone would be narrower: it cannot reach beyond the outermost unit."""
    flat = np.ones((3, 201)) * np.array([[-0.03], [-0.02], [-0.01]])
    made = estimate(flat, 0)
    assert made.value == pytest.approx(-0.02)
    assert made.of_units == (-0.03, -0.02, -0.01)
    assert (made.low, made.high) == pytest.approx(
        (-0.02 - 4.303 * 0.01 / 3**0.5, -0.02 + 4.303 * 0.01 / 3**0.5), rel=1e-3
    )
    assert made.freedom == pytest.approx(2)


def test_p_values_go_with_the_interval() -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        made = estimate(_units(rng, 3, 0.01, 0.003, 0.05, 0.1), 0)
        for p, clear in ((made.p_below(0), made.high < -1e-4), (made.p_above(0), made.low > 1e-4)):
            if clear:
                assert p < 0.06
        if made.low < -1e-4 and made.high > 1e-4:
            assert made.p_below(0) > 0.04
            assert made.p_above(0) > 0.04
        assert made.p_below(0.01) <= made.p_below(0)


def test_an_interval_that_just_excludes_a_threshold_has_a_p_value_below_005() -> None:
    """Of one unit, whose interval is the bootstrap's: 2,000 resamples of which 50 lie beyond, its 2.5 %."""
    resampled = np.concatenate([[0.04], np.linspace(-0.004, -0.0001, 50), np.linspace(0.0001, 0.052, 1950)])
    made = estimate(resampled[None], 0)
    assert 0 < made.low < 0.0002
    assert made.p_above(0) < 0.05
    one_more = estimate(np.where(np.arange(2001) == 51, -0.00005, resampled)[None], 0)
    assert one_more.low < 0
    assert one_more.p_above(0) > 0.05


def test_the_same_seed_gives_the_same_interval() -> None:
    units = _units(np.random.default_rng(1), 3, 0.01, 0.003, 0.05, 0.1)
    first, again, other = estimate(units, 0), estimate(units, 0), estimate(units, 1)
    assert first == again
    assert (first.low, first.high) != (other.low, other.high) or first.value == other.value
    assert (first.resampled == again.resampled).all()


def test_what_is_undefined_is_said_to_be() -> None:
    made: Estimate = estimate(np.full((2, 11), np.nan), 0)
    assert np.isnan([made.value, made.low, made.high]).all()
    assert made.p_below(0) == 1
    partly = np.zeros((2, 101))
    partly[0, 5:50] = np.nan
    assert len(estimate(partly, 0).resampled) == 55


def test_identical_rows_differ_by_nothing() -> None:
    made = estimate(np.zeros((3, 101)), 0)
    assert (made.low, made.high) == (0, 0)
    assert made.p_below(0) == made.p_above(0) == 1
