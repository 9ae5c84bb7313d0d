"""VQA accuracy: FACTS.md B.5's values, and a restatement of the official steps on whatever text."""

from __future__ import annotations

import re
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmpref.bench.scoring import vqa

# FACTS.md B.5, taken from the official processor.
VALUES = [
    ("The Coca-Cola", "coca cola"),
    ("1,000", "1000"),
    ("$3.50", "$3.50"),
    ("3.5.", "3.5"),
    ("McDonald's", "mcdonald 's"),
    ("none", "0"),
    ("U.S.A.", "usa"),
    ("a & b", "& b"),
    ("50%", "50%"),
    ("half/half", "half half"),
    ("don't", "don't"),
    ("dont", "don't"),
    ("Im", "im"),
    ("Id've", "id've"),
    ("a / b-c", "b c".replace(" ", " ")),
    ("." * 40, "." * 8),
    ("ten to one", "10 to 1"),
    ("", ""),
]
TEXT = st.text(
    st.sampled_from([*"aAnT1,.'?!-/ \n\t;[]\"(){}=+\\_><@`sdethon", "\u00a0", "é", "İ"]), max_size=30
) | st.sampled_from(["none", "an apple", "don't", "couldnt've", "1,000.", "it's", "Im", "the", "two-two"])


@pytest.mark.parametrize(("answer", "compared"), VALUES)
def test_the_published_values(answer: str, compared: str) -> None:
    assert vqa.normalise(answer) == compared


def _official(answer: str) -> str:
    """The processor's steps one by one, with its own patterns."""
    text = answer.lower()
    for before, after in ((",", ""), ("?", ""), ("'s", " 's")):
        text = text.replace(before, after)
    text = text.strip()
    given = text.replace("\n", " ").replace("\t", " ").strip()
    out = given
    for mark in [
        ";",
        "/",
        "[",
        "]",
        '"',
        "{",
        "}",
        "(",
        ")",
        "=",
        "+",
        "\\",
        "_",
        "-",
        ">",
        "<",
        "@",
        "`",
        ",",
        "?",
        "!",
    ]:
        if (mark + " " in given) or (" " + mark in given) or re.search(r"(?<=\d)(\,)+(?=\d)", given) is not None:
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    out = re.compile(r"(?!<=\d)(\.)(?!\d)").sub("", out, int(re.UNICODE))
    words = []
    for word in out.lower().split():
        number = {
            "none": "0",
            "zero": "0",
            "one": "1",
            "two": "2",
            "three": "3",
            "four": "4",
            "five": "5",
            "six": "6",
            "seven": "7",
            "eight": "8",
            "nine": "9",
            "ten": "10",
        }.get(word, word)
        if number not in ["a", "an", "the"]:
            words.append(number)
    return " ".join(vqa._CONTRACTIONS.get(word, word) for word in words)


@given(TEXT)
@example("a ,b")
@example("'s")
def test_any_text_is_normalised_as_the_official_steps_say(answer: str) -> None:
    assert vqa.normalise(answer) == _official(answer)


@given(TEXT | st.just("red"), st.lists(TEXT | st.sampled_from(["red", "Red.", "the red"]), min_size=10, max_size=10))
def test_accuracy_leaves_each_person_out_in_turn(answer: str, people: list[str]) -> None:
    said, answers = _official(answer), [_official(one) for one in people]
    each = []
    for i in range(len(answers)):
        others = [answers[j] for j in range(len(answers)) if j != i]
        each.append(min(1, float(len([one for one in others if one == said])) / 3))
    assert vqa.accuracy(answer, people) == pytest.approx(statistics.mean(each))


def test_contractions_have_no_capitals_and_only_gain_or_move_an_apostrophe() -> None:
    assert len(vqa._CONTRACTIONS) == 120 - 6  # the original's, without four with capitals and two that change nothing
    for short, whole in vqa._CONTRACTIONS.items():
        assert short == short.lower() != whole
        assert short.replace("'", "") == whole.replace("'", "")


def test_accuracy_is_over_ten_people() -> None:
    assert vqa.accuracy("red", ["red"] * 3 + ["blue"] * 7) == pytest.approx(0.9)
    assert vqa.accuracy("red", ["red"] * 2 + ["blue"] * 8) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="9 answers"):
        vqa.accuracy("red", ["red"] * 9)
