"""What is read off a dataset's report."""

from __future__ import annotations

import pytest

from mmpref.data.stats import resolved_per_try
from mmpref.run.build_report import resolved_shares


def test_resolved_shares_are_of_the_pairs_that_are_here() -> None:
    report = {"rows": 4, "resolved": resolved_per_try([1, 1, 3, 0, 0], 3)}  # one of five came out equal and is left out
    assert resolved_shares(report) == pytest.approx([0.5, 0.5, 0.75])
    assert report["resolved"][-1]["share"] == 0.6
