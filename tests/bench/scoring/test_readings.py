"""How GQA, MME, MMStar and HallusionBench read an answer: quirks, and restatements on whatever text."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmpref.bench.scoring import gqa, mme, mmstar, yes_no

TEXT = st.text(st.sampled_from(list("yesnoYESNO .,!?()\n\tabcdABCDtheoption is:")), max_size=24) | st.text(max_size=8)


@pytest.mark.parametrize(
    ("answer", "truth", "official", "loose"),
    [
        ("Yes.", "yes", True, True),
        ("yes", "yes", True, True),
        ("Hot dog", "hot dog", True, True),
        ("Yes!", "yes", False, True),
        (" yes", "yes", False, False),
        ("a dog", "dog", False, False),
        ("T-shirt", "t-shirt", True, True),
        ("tshirt", "t-shirt", False, True),
        ("yes...", "yes", True, True),
        ("", "yes", False, False),
    ],
)
def test_gqa_by_both_rules(answer: str, truth: str, official: bool, loose: bool) -> None:
    assert gqa.right(answer, truth) is official
    assert gqa.right_without_punctuation(answer, truth) is loose


@given(TEXT, TEXT)
def test_gqa_without_punctuation_is_character_by_character(answer: str, truth: str) -> None:
    kept = ["".join(c for c in text.lower() if c not in string.punctuation) for text in (answer, truth)]
    assert gqa.right_without_punctuation(answer, truth) is (kept[0] == kept[1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("yes, it is", "yes"),
        ("No.", "no"),
        ("Not at all", "no"),
        ("know", "no"),
        ("none", "no"),
        ("", "other"),
        ("Well, yes", "other"),
        ("y", "other"),
        ("n", "other"),
        (" yes", "yes"),
        ("  yes", "other"),
        ("eyes", "yes"),
        ("It is not", "other"),
        ("\nno", "no"),
    ],
)
def test_mme_reads_four_characters(answer: str, said: str) -> None:
    assert mme.parse(answer) == said


@given(TEXT)
def test_mme_as_its_script_says(answer: str) -> None:
    text = answer.lower()
    if text in ["yes", "no"]:
        said = text
    elif "yes" in text[:4]:
        said = "yes"
    elif "no" in text[:4]:
        said = "no"
    else:
        said = "other"
    assert mme.parse(answer) == said


@pytest.mark.parametrize(
    ("answer", "letter", "official", "strict"),
    [
        ("A", "A", True, True),
        ("A.", "A", True, True),
        ("a: red", "A", True, True),
        ("(A) red", "A", True, True),
        ("Option A", "A", True, True),
        ("The answer is A", "A", True, True),
        ("A dog", "A", True, False),
        ("Apples", "A", True, False),
        ("The answer is: A", "A", False, True),
        ("", "A", False, False),
        ("(", "A", False, False),
        ("B", "A", False, False),
        ("It is A", "A", False, False),
        ("\nA\n", "A", True, True),
        ("The option is A", "A", False, True),
        ("option", "A", False, False),
    ],
)
def test_mmstar_by_both_rules(answer: str, letter: str, official: bool, strict: bool) -> None:
    assert mmstar.right(answer, letter) is official
    assert (mmstar.letter(answer) == letter) is strict


@given(TEXT, st.sampled_from("ABCD"))
@example("the answer is (a)", "A")
@example("option b", "B")
def test_mmstar_as_its_script_says(answer: str, letter: str) -> None:
    true, said = letter.lower().strip(), answer.lower().strip().replace("\n", " ")
    try:
        official = (
            true == said[0]
            or (said[0] == "(" and true == said[1])
            or (said[0:7] == "option " and true == said[7])
            or (said[0:14] == "the answer is " and true == said[14])
        )
    except IndexError:
        official = False
    assert mmstar.right(answer, letter) is official


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes, it is.", "yes"),
        ("no", "no"),
        ("It is not.", "unknown"),
        ("Yes and no", "unknown"),
        ("", "unknown"),
        ("I say yes!", "yes"),
        ("YES", "yes"),
        ("Yes,it is", "yes"),
        ("yes-no", "unknown"),
        ("nope", "unknown"),
        ("The answer: yes:", "unknown"),
    ],
)
def test_yes_and_no_as_words(answer: str, said: str) -> None:
    assert yes_no.parse(answer) == said


@given(st.lists(st.sampled_from(["yes", "no", "Yes.", "NO!", "maybe", "not", "yes?"]), max_size=5))
def test_yes_and_no_together_say_nothing(words: list[str]) -> None:
    plain = {word.lower().strip(".!?") for word in words}
    expected = {(True, False): "yes", (False, True): "no"}.get(("yes" in plain, "no" in plain), "unknown")
    assert yes_no.parse(" ".join(words)) == expected
