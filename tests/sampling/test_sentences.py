from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpref.sampling.sentences import ends_sentence, may_go_on, split


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A red ball. A blue cube.", 2),
        ("Dr. Smith holds a cup. He smiles.", 2),
        ("It is 3.5 metres tall. It is old.", 2),
        ('He said "Stop." Then he left.', 2),
        ("图中有一只猫。它在睡觉。", 2),
        ("a red ball on a table", 1),
        ("Yes", 1),
        ("1. A ball.\n2. A cube.", 2),
        ("First line\n\nSecond line", 2),
        ("Is it a?'1\n\n", 1),
        ("A ball.\n1.\n\nA cube.", 2),
        ("Vitamin D\xa0. It helps.", 2),  # the splitter itself breaks off with a panic here
    ],
)
def test_the_number_of_sentences(text: str, count: int) -> None:
    sentences = split(text)
    assert len(sentences) == count, sentences
    assert "".join(sentences) == text


def test_a_decimal_is_in_one_sentence() -> None:
    assert split("It is 3.5 metres tall. It is old.")[0].startswith("It is 3.5 metres tall.")


def test_a_list_number_goes_with_its_item() -> None:
    assert split("1. A ball.\n2. A cube.")[0].startswith("1. A ball")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("abD. \n\"'。!?1,…é中\xa0\u3000"), max_size=60))
def test_sentences_join_to_the_text(text: str) -> None:
    assert "".join(split(text)) == text


@pytest.mark.parametrize("text", ["A ball.", 'He said "stop."', "一只猫。", "It is 3.5 metres.", "There are 3."])
def test_a_full_stop_ends_a_sentence(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize("text", ["A ball", "A ball,", "Here is Dr.", "There is fruit, e.g.", ""])
def test_what_does_not_end_a_sentence(text: str) -> None:
    assert not ends_sentence(text)


def test_only_digits_and_letters_may_go_on() -> None:
    assert may_go_on("It is 3.")
    assert may_go_on("such as e.")
    assert not may_go_on("A ball.")
