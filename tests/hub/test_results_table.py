"""The results table of a card: marks of corrected tests come through, and survive in the card's own data."""

from __future__ import annotations

import pytest

from mmpref.hub.cards.results_table import lines_of, read_lines, results_block
from mmpref.run.results import Results


def _evaluation(p: float | None) -> Results:
    row = {"benchmark": "gqa", "split": "all", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    return Results.from_dict(
        {
            "results": [{**row, "model": model} for model in ("base", "adapter")],
            "differences": [{**row, "value": 0.1, "p": 0.01, "p_holm": p}],
        }
    )


@pytest.mark.parametrize(
    ("p", "mark"), [(0.2, "n.s."), (0.04, r"\*"), (0.009, r"\*\*"), (0.0001, r"\*\*\*"), (None, "]")]
)
def test_marks(p: float | None, mark: str) -> None:
    lines = lines_of(_evaluation(p))
    block = results_block(lines)
    row = next(line for line in block.splitlines() if line.startswith("| gqa"))
    assert row.split("|")[4].strip().endswith(f" {mark}" if p is not None else mark)
    assert ("Holm" in block) is (p is not None)
    assert read_lines(block) == lines


def test_cards_of_before_are_read() -> None:
    block = results_block(lines_of(_evaluation(None)))
    assert '"p"' not in block
    assert read_lines(block)[0].p is None
