from __future__ import annotations

import re

import pytest

from mmpref.data.stats import (
    EDGES,
    differing_share,
    histogram,
    length_bias,
    length_warnings,
    resolved_per_try,
    spread,
)


def test_pairs_resolved_per_try() -> None:
    assert resolved_per_try([1, 1, 3, 0], 3, same=1) == [
        {"try": 1, "pairs": 2, "share_of_pairs": 0.5, "share_of_tried": 0.4},
        {"try": 2, "pairs": 0, "share_of_pairs": 0.5, "share_of_tried": 0.4},
        {"try": 3, "pairs": 1, "share_of_pairs": 0.75, "share_of_tried": 0.6},
    ]


def test_every_similarity_is_in_the_histogram() -> None:
    counts = histogram([-1.0, -0.2, 0.0, 0.97, 1.0, 1.0000002])
    assert sum(counts) == 6
    assert len(counts) == len(EDGES) - 1
    assert (counts[0], counts[1], counts[-1]) == (2, 1, 3)
    assert histogram([]) == [0] * (len(EDGES) - 1)


def test_spread() -> None:
    assert spread([3, 1, 2]) == {"mean": 2, "median": 2, "min": 1, "max": 3}
    assert spread([])["mean"] is None


@pytest.mark.parametrize(
    ("chosen", "rejected", "share"),
    [("a b", "a b", 0), ("a b", "c d", 1), ("a b c d", "a x c d", 0.25), ("一只猫。", "一只狗。", 1 / 3)],
)
def test_share_of_words_that_differ(chosen: str, rejected: str, share: float) -> None:
    assert differing_share(chosen, rejected) == pytest.approx(share)


@pytest.mark.parametrize(
    ("chosen", "rejected", "warned"),
    [
        ([100, 100], [103, 103], ""),
        ([100, 100], [104, 103], "3.5% longer .* shorter answers"),
        ([100, 100], [97, 97], ""),
        ([100, 100], [96, 97], "3.5% shorter .* longer answers"),
        ([20, 10], [10, 20], ""),  # the mean of their ratios is 1.25, whichever are called rejected
        ([1] * 9 + [100], [2] * 9 + [94], ""),
        ([], [], ""),
        ([0], [4], ""),
    ],
)
def test_lengths_that_differ_are_warned_of(chosen: list[int], rejected: list[int], warned: str) -> None:
    found = length_warnings(length_bias(chosen, rejected))
    assert len(found) == bool(warned)
    if warned:
        assert re.search(warned, found[0])
        assert "in rejected_policy are" in length_warnings(length_bias(chosen, rejected), "rejected_policy")[0]


def test_length_bias() -> None:
    assert length_bias([3, 1], [1, 1]) == {
        "mean": 1,
        "median": 1,
        "min": 0,
        "max": 2,
        "chosen_longer": 0.5,
        "ratio": 0.5,
    }
