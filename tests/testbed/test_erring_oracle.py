"""An annotator that knows the truth and is wrong in a share of what it is asked."""

from __future__ import annotations

import pytest

from mmpref.errors import UsageError
from mmpref.judges.annotator import Comparison
from mmpref.judges.chat import ChatSettings
from mmpref.judges.resolve import open_annotator, open_chat
from mmpref.judges.rewriter import open_rewriter
from mmpref.tables.open import open_table
from mmpref.tables.rows import read_row
from mmpref.types import ImageData


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    """True captions first."""
    rows = [read_row(row, "row") for row in open_table("testbed-pairs", "test")]
    images = [tuple(ImageData(cell["bytes"]) for cell in row.images) for row in rows]
    return [Comparison(of, row.prompt, row.chosen, row.rejected) for of, row in zip(images, rows, strict=True)]


def test_it_errs_in_its_share_and_no_more(comparisons: list[Comparison]) -> None:
    right = {}
    for share in (0, 0.2, 0.4, 1):
        verdicts = open_annotator(f"testbed-oracle:{share}").compare(comparisons)
        right[share] = sum(verdict.winner == "first" for verdict in verdicts) / len(verdicts)
    exact = open_annotator("testbed-oracle").compare(comparisons)
    assert right[0] == sum(verdict.winner == "first" for verdict in exact) / len(exact) == 1
    assert right[1] == 0
    assert right[0.2] == pytest.approx(0.8, abs=0.09), "three standard errors of 200"
    assert right[0.4] == pytest.approx(0.6, abs=0.11)


def test_it_says_the_same_of_the_same(comparisons: list[Comparison]) -> None:
    annotator, other = open_annotator("testbed-oracle:0.4"), {"first": "second", "second": "first"}
    given = [verdict.winner for verdict in annotator.compare(comparisons)]
    swapped = [verdict.winner for verdict in annotator.compare([pair.swapped() for pair in reversed(comparisons)])]
    assert given == [other[str(winner)] for winner in reversed(swapped)]


def test_ties_stay_ties(comparisons: list[Comparison]) -> None:
    pair = comparisons[0]
    same = Comparison(pair.images, pair.prompt, pair.first, pair.first)
    assert open_annotator("testbed-oracle:1").compare([same])[0].winner is None


@pytest.mark.parametrize("setting", ["", "1.5", "-0.1", "often", "nan"])
def test_a_share_is_a_share(setting: str) -> None:
    with pytest.raises(UsageError, match="no share of errors"):
        open_annotator(f"testbed-oracle:{setting}")


def test_it_does_nothing_but_compare() -> None:
    with pytest.raises(UsageError, match="does not rewrite"):
        open_rewriter("testbed-oracle:0.2")
    with pytest.raises(UsageError, match="cannot be asked in words"):
        open_chat("testbed-oracle:0.2", ChatSettings())
