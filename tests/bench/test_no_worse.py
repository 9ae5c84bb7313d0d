"""Non-inferiority: no worse, worse, or it cannot be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpref.bench.compare import compare
from mmpref.bench.no_worse import columns_and_rows, parse_margins, summary
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
