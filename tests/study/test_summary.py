"""What a study has measured so far, as a plain table."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.run.results import Key
from mmpref.study.effects import Effects
from mmpref.study.summary import summarize, table
from tests.study.ledgers import measured, plan_of

CHAIR = Key.of("chair chair_i")


def test_a_row_says_over_how_many_bases_its_means_are(tmp_path: Path) -> None:
    """And they are what the page has: a base with more seeds counts no more than another."""
    plan = plan_of(tmp_path, ["bdhs"])
    runs = [measured("base", 0.2, base) for base in range(3)]
    runs += [measured("bdhs", 0.1 + 0.3 * base, base, seed, noise=seed) for base in (0, 1) for seed in range(3 - base)]
    base, bdhs = summarize(plan, runs)
    assert ((base.bases, base.runs), (bdhs.bases, bdhs.runs)) == ((3, 3), (2, 5))
    value = Effects(plan, runs).value("bdhs", CHAIR, "test")
    assert value is not None
    assert bdhs.means["chair chair_i"] == pytest.approx(value.value)
    columns, lines = table([base, bdhs])
    assert columns[:4] == ["row", "on", "bases", "runs"]
    assert [line[:4] for line in lines] == [["base", "test", "3", "3"], ["bdhs", "test", "2", "5"]]
