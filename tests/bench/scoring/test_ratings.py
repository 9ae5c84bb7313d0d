"""What judges write, read by the published rules; what cannot be read is never a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpref.bench.scoring import judge_prompts, ratings


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("It is right.\nRating: 5, very informative", 5),
        ("rating: 0", 0),
        ("**Rating:** 5", 5),
        ("Rating: **5**", 5),
        ("Rating: 3\nRating: 3", 3),
        ("Rating: 3 or Rating: 4", None),
        ("5", None),
        ("Rating 5", None),
        ("", None),
        ("Rating: 7", None),
        ("Rating:\n4", 4),
        ("Rating: 5/6", 5),
        ("Rating: 10", None),
        ("Rating: 60 %", None),
        ("Rating: 4.5", None),
        ("Rating: 4.0", 4),
        ("Rating: 6.5", None),
        ("Score: 5", 5),
        ("I cannot judge this.", None),
    ],
)
def test_the_rating_of_mmhal(reply: str, found: int | None) -> None:
    assert ratings.rating(reply) == found


def test_a_judge_that_repeats_the_scale_is_unreadable() -> None:
    assert ratings.rating(judge_prompts.MMHAL) is None


@given(st.integers(0, 6), st.text(st.sampled_from("abc :\n.*12"), max_size=30))
def test_any_explanation_may_stand_before_the_rating(value: int, text: str) -> None:
    """Restated from eval_gpt_mmhal.py: which of the seven strings occur in the lower-cased reply."""
    reply = f"{text}\nRating: {value}"
    occurring = [i for i in range(7) if f"rating: {i}" in reply.lower()]
    assert occurring == [value] == [ratings.rating(reply)]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("8 7\nBoth are fine.", (8, 7)),
        ("8, 7", (8, 7)),
        ("8.5 9", (8.5, 9)),
        ("**8 7**\nx", (8, 7)),
        ("8  7", (8, 7)),
        ("Assistant 1: 8, Assistant 2: 7", (8, 7)),
        ("8", None),
        ("8 7 9", None),
        ("", None),
        ("x\n8 7", None),
        ("0 5", None),
        ("8 11", None),
        ("nan 5", None),
        ("inf 5", None),
    ],
)
def test_the_two_scores_of_llava_bench(reply: str, found: tuple[float, float] | None) -> None:
    assert ratings.two_scores(reply) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("0.5", 0.5),
        ("1.0", 1),
        ("0", 0),
        (" 0.4 because", 0.4),
        ("`0.7`", 0.7),
        ("1.1", None),
        ("-0.1", None),
        ("", None),
        ("Score: 0.5", 0.5),
        ("Correctness: 0.5", 0.5),
        ("nan", None),
    ],
)
def test_the_correctness_of_mm_vet(reply: str, found: float | None) -> None:
    assert ratings.correctness(reply) == found


@given(st.text(max_size=40))
def test_any_reply_is_read_or_missing(reply: str) -> None:
    assert ratings.rating(reply) in (None, *range(7))
    scores, share = ratings.two_scores(reply), ratings.correctness(reply)
    assert scores is None or all(0 < score <= 10 for score in scores)
    assert share is None or 0 <= share <= 1
