"""Non-inferiority: no worse, worse, or it cannot be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from mmpref.bench.changes import Changes
from mmpref.bench.compare import compare
from mmpref.bench.no_worse import columns_and_rows, parse_margins, score_interval, summary
from mmpref.errors import UsageError
from mmpref.run.results_text import no_worse_of
from tests.bench.finished_runs import finished_run


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "verdict"),
    [
        (-0.009, 0.02, True, "no worse"),
        (-0.009, -0.001, True, "no worse"),  # worse for sure, and by less than what matters
        (-0.03, 0.02, True, "cannot tell"),
        (-0.03, -0.011, True, "worse"),
        (-0.02, 0.009, False, "no worse"),
        (0.011, 0.03, False, "worse"),
        (-0.02, 0.03, False, "cannot tell"),
    ],
)
def test_verdicts(low: float, high: float, higher_is_better: bool, verdict: str) -> None:
    assert no_worse_of(low, high, higher_is_better, 0.01) == verdict


def test_a_model_at_the_margin_is_called_no_worse_in_2_of_100() -> None:
    """The level of the one-sided test, where the truth is the margin itself: at most 2.5 %, of paired means."""
    rng = np.random.default_rng(0)
    changes = rng.normal(-0.05, 0.4, size=(4000, 300))
    mean, error = changes.mean(1), changes.std(1, ddof=1) / 300**0.5
    called = [no_worse_of(m - 1.96 * e, m + 1.96 * e, True, 0.05) for m, e in zip(mean, error, strict=True)]
    assert 0.018 < called.count("no worse") / 4000 < 0.033
    assert 0.018 < called.count("worse") / 4000 < 0.033


def _changes(gains: np.ndarray) -> Changes:
    """Of shares of right answers that an image gains."""
    return Changes(len(gains), int((gains != 0).sum()), float(gains.mean()), float(gains.var()), 1.0)


def test_the_score_interval_is_tangos() -> None:
    """12 pairs gained and 2 lost of 50: at its ends the score under the likeliest share of changes is the quantile."""
    gained, lost, pairs = 12, 2, 50
    ends = score_interval(_changes(np.repeat([1.0, -1.0, 0.0], [gained, lost, pairs - gained - lost])))
    assert ends[0] == pytest.approx(0.061, abs=0.001)
    for difference in ends:

        def unlikely(gains: float, difference: float = difference) -> float:
            losses = gains - difference
            same = 1 - gains - losses
            return -(gained * np.log(gains) + lost * np.log(losses) + (pairs - gained - lost) * np.log(same))

        low, high = max(difference, 0) + 1e-9, (1 + difference) / 2 - 1e-9
        gains = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x
        error = np.sqrt((2 * gains - difference - difference**2) / pairs)
        assert abs((gained - lost) / pairs - difference) / error == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.parametrize(("images", "margin"), [(60, 0.02), (200, 0.02), (300, 0.02), (1000, 0.01)])
def test_where_answers_only_got_worse_by_the_margin_it_is_seldom_called_no_worse(images: int, margin: float) -> None:
    """One question an image, added up over all numbers of answers that may change; the bootstrap interval alone would
    say so in 30, 9, 6 and 5 % of cases."""
    false = 0.0
    for lost in range(int(3 * images * margin) + 3):
        low, _ = score_interval(_changes(np.repeat([-1.0, 0.0], [lost, images - lost])))
        false += float(binom.pmf(lost, images, margin)) * (low > -margin)
    assert false < 0.025


@pytest.mark.parametrize(
    ("images", "margin", "together", "also"),
    [
        (60, 0.02, False, 0),
        (120, 0.01, False, 0),
        (500, 0.01, True, 0),
        (200, 0.02, False, 0.02),
        (200, 0.05, True, 0.05),
    ],
)
def test_nor_is_it_where_an_image_has_several_questions(
    images: int, margin: float, together: bool, also: float
) -> None:
    """Four of them, which change one by one or together, and some of which change for no net effect."""
    rng, runs, false = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        drawn = rng.random((images, 1 if together else 4))
        gains = np.where(drawn < margin + also, -1.0, np.where(drawn < margin + 2 * also, 1.0, 0.0)).mean(1)
        false += score_interval(_changes(gains))[0] > -margin
    assert false / runs < 0.025 + 2 * (0.025 * 0.975 / runs) ** 0.5


def test_that_nothing_changed_on_few_images_is_no_proof(tmp_path: Path) -> None:
    """3.84 / n of what did not change on n images may."""
    right = np.ones(6)
    (found,) = compare(
        [finished_run(tmp_path / "run", {"base": right, "adapter": right})], margins={"*": 0.0001}
    ).no_worse
    assert (found.difference.low, found.difference.high, found.verdict) == (0.0, 0.0, "cannot tell")
    assert found.at_worst == pytest.approx(-3.8415 / (6 + 3.8415), abs=1e-3)
    assert columns_and_rows([found], {})[1] == [
        ["pope accuracy", "+0.000 [+0.000, +0.000]", "-0.390", "0.0001", "cannot tell"]
    ]


def test_of_what_has_no_measure_nothing_is_said() -> None:
    """A rate of 0 on all images of both models: by how much an image could change, nobody knows."""
    assert score_interval(Changes(50, 0, 0.0, 0.0, 0.0)) == (-np.inf, np.inf)
    low, high = score_interval(Changes(2000, 0, 0.0, 0.0, 6.0))
    assert (low, high) == pytest.approx((-6 * 3.8415 / 2003.84, 6 * 3.8415 / 2003.84), rel=1e-3)


def test_of_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = (rng.random(2000) < 0.8).astype(float)
    run = finished_run(tmp_path / "run", {"base": base, "adapter": base})
    broken = base * (rng.random(2000) < 0.9)
    worse = finished_run(tmp_path / "worse", {"base": base, "adapter": broken}, weights="x")
    found = compare([run, worse], margins=parse_margins(["0.01"])).no_worse
    assert {row.model.split(",")[-1]: row.verdict for row in found} == {
        "run: adapter": "no worse",
        "worse: adapter": "worse",
    }
    assert summary(found) == "Of 2: no worse 1, worse 1, cannot tell 0."
    letters = {row.model: letter for row, letter in zip(found, "BC", strict=True)}
    assert columns_and_rows(found, letters)[1][1][0] == "pope accuracy (C)"
    assert compare([run, worse]).no_worse == ()
    right = np.ones(20)
    small = finished_run(tmp_path / "small", {"base": right, "adapter": np.where(np.arange(20) < 1, 0.0, right)})
    assert compare([small], margins={"pope": 0.02}).no_worse[0].verdict == "cannot tell"
    with pytest.raises(UsageError, match="a margin of chair"):
        compare([run], margins={"chair": 0.01})


def test_where_nothing_is_tested(tmp_path: Path) -> None:
    """A margin is never passed over in silence."""
    right = np.ones(20)
    alone = finished_run(tmp_path / "alone", {"base": right})
    with pytest.raises(UsageError, match="no two models are tested"):
        compare([alone], margins={"*": 0.01})
    run = finished_run(tmp_path / "run", {"base": right, "adapter": right})
    other = finished_run(tmp_path / "other", {"base": right}, benchmark="pope", fingerprint="g")
    found = compare([run, other], margins={"*": 0.01})
    assert [row.model for row in found.no_worse] == ["run: adapter"]
    assert "pope: other: base is not tested, so that nothing is said of it against the margin." in found.warnings


def test_words() -> None:
    assert parse_margins(["0.01", "mmhal=0.2"]) == parse_margins({"*": 0.01, "mmhal": 0.2})
    assert parse_margins(0.01) == {"*": 0.01}
    with pytest.raises(UsageError, match="is no margin"):
        parse_margins(["pope=much"])
