"""What is read off a dataset's report."""

from __future__ import annotations

import pytest

from mmpref.data.stats import resolved_per_try
from mmpref.run.build_report import resolved_shares


def test_resolved_shares_are_those_of_the_report() -> None:
    report = {"rows": 4, "resolved": resolved_per_try([1, 1, 3, 0], 3)}
    assert resolved_shares(report) == pytest.approx([row["share_of_pairs"] for row in report["resolved"]])
