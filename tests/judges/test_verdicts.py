"""The grammar of verdicts: which number, response, or yes and no a reply names, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpref.judges.verdicts import choice, leading, number, pair, yes_or_no


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Rating : 5", 5),
        ("Rating：5", 5),
        ("内容与图片相符。\nRating：５", 5),
        ("The rating is 5.", 5),
        ("### Rating\n5", 5),
        ("Score: 5", 5),
        ("**Rating: 5 — very informative**", 5),
        ("Final rating: **5**, very informative", 5),
        ("Rating: 5/6", 5),
        ("Rating: 5 / 6.", 5),
        ("Rating: 5 out of 6", 5),
        ("Rating (0-6): 5", 5),
        ("Rating: [[5]]", 5),
        ("<rating>5</rating>", 5),
        (r"Rating: \boxed{5}", 5),
        ("Rating = 5", 5),
        ("**Rating** - 5", 5),
        ("Rating: 4.5", 4.5),
        ("Rating: 5\u00a0/\u00a06", 5),
        ('{"explanation": "supported", "rating": 5}', 5),
        ('```json\n{"Final_Rating": "4/6"}\n```', 4),
        ("Rating: 6, very informative, no hallucination", 6),
        ("Rating: 3 of 6", 3),
        ("Rating: 2 on a scale of 0 to 6", 2),
        ('{"rating": 5, "explanation": "at first I thought of rating: 2"}', 5),
        ('{"a": {"rating": 5}}', 5),
    ],
)
def test_a_number_is_read_however_it_is_written(reply: str, found: float) -> None:
    assert number(reply, 0, 6) == found


@pytest.mark.parametrize(
    "reply",
    [
        "Rating: 10",
        "Rating: 60%",
        "Rating: 60 %",
        "Rating: 6 %",
        "Rating: 6 percent",
        "Rating: 5/10",
        "Rating: 3/5",
        "Rating: 5 (out of 10)",
        "Rating: -1",
        "Rating: 4-5",
        "Rating: 4 to 5",
        "Rating: 4 or 5",
        "Rating: 4+",
        "Rating: 1,000",
        "Rating: 3.5.1",
        "Rating: 5th",
        "Rating: five",
        "Rating: N",
        "Rating: 7",
        "Rating 5",
        "5",
        "",
        "The rating is not 5",
        "The maximum rating is 6",
        "A rating of 6 would need more",
        "Confidence score: 5",
        "### Rating\n1. It is informative.\n2. It is right.",
        '{"rating": true}',
        '{"rating": null}',
        '{"rating": 10, "confidence": 5}',
        "Rating: 3\nRating: 4",
        "Rating: 3 or rating: 4",
        "Rating: 0 is bad, rating: 2 is poor, rating: 4 is good, rating: 6 is best.",
        "Rating: 4, 5",
        "Rating: 2;3",
        "Rating: 2 | 3",
        "Rating: 3 on a scale of 0 to 10",
        "Rating: 1 of the 3 facts",
        "Rating: 0 hallucinations are in it",
        "Rating: 2 points deducted",
        "Rating: 6 would be too high; I give it 3.",
    ],
)
def test_another_number_is_none(reply: str) -> None:
    assert number(reply, 0, 6) is None


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("At first rating: 2. But the square is there, so rating: 5", 5),
        ("Initial rating: 2\nFinal rating: 5", 5),
        ("Final rating: 5\n\nWith the dog it had been rating: 2.", 5),
        ("Informativeness score: 4\nScore: 2", 2),
        ("Rating: 3\n\nNo: rating: 10", None),
        ("Score: 2 of its parts\nRating: 5", 5),
        ("Rating: 3\nRating: 3", 3),
    ],
)
def test_the_last_one_counts_that_is_labelled_as_the_verdict(reply: str, found: float | None) -> None:
    assert number(reply, 0, 6) == found


@given(st.integers(0, 10**6), st.sampled_from(["", " ", "%", " %", "/6", "/10", ".", ".5", ",", "th", "-2", "!"]))
def test_digits_are_never_cut_out_of_a_longer_number(value: int, behind: str) -> None:
    found = number(f"Rating: {value}{behind}", 0, 6)
    assert found is None or (int(found) == value <= 6)
    if "%" in behind or behind in ("/10", "th", "-2"):
        assert found is None


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("0.5", 0.5),
        ("1", 1),
        ("1.", 1),
        ("0.5. Because", 0.5),
        ("0.5/1", 0.5),
        ("0.5 |", 0.5),
        ("| 0.5 |", 0.5),
        ("1. The answer names both", None),
        ("0.5 (in part)", 0.5),
        ("0.5 since it names one", 0.5),
        ("0 errors", None),
        ("1 of 2 facts is right", None),
        ("1 mistake is made", None),
        ("0.5 1.0", None),
        ("1 point for the dog, 0.5 in all", None),
        ("50%", None),
        ("0,5", None),
        ("10", None),
        ("-0.5", None),
        ("1e0", None),
    ],
)
def test_a_number_at_the_beginning(reply: str, found: float | None) -> None:
    assert leading(reply, 0, 1) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("8/10 7/10", (8, 7)),
        ("８ ７", (8, 7)),
        ("Assistant 1: 8\nAssistant 2: 7/10", (8, 7)),
        ("80% 70%", None),
        ("Assistant 1: 2 errors, Assistant 2: 7", None),
        ("1e1 7", None),
        ("1_0 7", None),
        ("8,5 7", None),
    ],
)
def test_two_numbers(reply: str, found: tuple[float, float] | None) -> None:
    assert pair(reply, 0, 10, ("assistant 1", "assistant 2")) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Better：Response 1", 1),
        ('{"better": 1}', 1),
        ('{"winner": "Response 2", "why": "x"}', 2),
        ("Both name it.\nResponse 1 is better.", 1),
        ("At first better: Response 1, but no.\n\nBetter: Response 2", 2),
        ("Better: Response 1 or 2", None),
        ("Better: Response 1/2", None),
        ("Better: Response 1 and Response 2", None),
        ("Better: 10", None),
        ("Better: 1.5", None),
        ("Better: 1 mistake less", None),
        ("Better: Response 1\n\nBetter: neither", None),
        ("Better: Response 1\nResponse 2 is better.", None),
        ("Neither is better: Response 1 invents a cat.", None),
        ("Better: Response 1 = Response 2", None),
    ],
)
def test_which_response_a_reply_names(reply: str, found: int | None) -> None:
    assert choice(reply) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Yes", True),
        ("no.", False),
        ("**No**", False),
        ("No, there is no dog", False),
        ("no - it is red", False),
        ("The answer is yes.", True),
        ('{"answer": "no"}', False),
        ("No dogs are visible.\nAnswer: Yes", True),
        ("No it is not", False),
        ("Yes and no", None),
        ("Yes/No", None),
        ("No dogs are there, so it is true.", None),
        ("Nope", None),
        ("not really", None),
        ("", None),
        ("I know", None),
        ("Answer: yes\nAnswer: no", None),
        ("Yes... actually, no.", None),
        ("No, wait, yes.", None),
        ("Yes, but no people are near it.", True),
        ("The answer is yes if it is a dog, otherwise no.", None),
    ],
)
def test_yes_or_no(reply: str, found: bool | None) -> None:
    assert yes_or_no(reply) is found


@given(st.text())
def test_any_reply_is_read_or_none(reply: str) -> None:
    assert choice(reply) in (1, 2, None)
    assert yes_or_no(reply) in (True, False, None)
    for found in (number(reply, 0, 6), leading(reply, 0, 1)):
        assert found is None or 0 <= found <= 6
