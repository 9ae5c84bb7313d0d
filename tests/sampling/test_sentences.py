from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpref.sampling.sentences import Sentence, first_end, sentences, split


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
        ("ဘယ်ဘက်မှာ ခွေးနီ ရှိတယ်။ အပြာရောင်ပါ။", 2),
        ("មានឆ្កែក្រហម។ វាពណ៌ខៀវ៕", 2),
        ("What‼ No dog⁉ None.", 3),
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


def read_on(text: str) -> tuple[int | None, str]:
    """Where the first sentence is found to end while the text is written letter by letter, and what stands then."""
    for size in range(len(text) + 1):
        end, open_end = first_end(text[:size])
        if end is not None:
            assert not open_end
            assert all(first_end(text[:more])[0] == end for more in range(size, len(text) + 1))
            return end, text[:size]
    return None, text


PIECES = [
    "a",
    "B",
    "The",
    "p.m.",
    "Dr.",
    ". ",
    ".",
    " ",
    "\n",
    '"',
    "'",
    "。",
    "!",
    "?",
    "1",
    "…",
    "é",
    "中",
    "،",
    "\xa0",
    "\u3000",
    "No",
    "*",
    "(",
    ")",
    "-",
    "😀",
    "ไทย",
    "...",
    "www.",
    "://",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_a_text_that_is_being_written_ends_its_sentences_where_the_whole_does(text: str) -> None:
    begin = 0
    for sentence in sentences(text):
        end, so_far = read_on(text[begin:])
        assert end in (None, len(sentence.body))
        assert sentences(so_far)[0].body == sentence.body
        begin += len(sentence.body) + len(sentence.trailing)
    assert begin == len(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("A ball. It", "A ball."),
        ('He said "stop." Then', 'He said "stop."'),
        ('"Stop!" he said. Then', '"Stop!" he said.'),
        ("(a book.) Then", "(a book.)"),
        ("**Bold.** Then", "**Bold.**"),
        ("一只猫。它", "一只猫。"),
        ("「猫。」他", "「猫。」"),
        ("What? A", "What?"),
        ("كلب؟ نعم", "كلب؟"),
        ("It is 3.5 metres. It", "It is 3.5 metres."),
        ("There are 3. They", "There are 3."),
        ("No. Dogs", "No."),
        ("No. 7 is red. It", "No. 7 is red."),
        ("Here is Dr. Smith. He", "Here is Dr. Smith."),
        ("It is 5 p.m. in town. It", "It is 5 p.m. in town."),
        ("It is 5 p.m. The town", "It is 5 p.m."),
        ("A dog... and a cat. It", "A dog... and a cat."),
        ("See https://a.b/c. Then", "See https://a.b/c."),
        ("A heading\n\nIt", "A heading"),
        ("- a dog\n- a cat", "- a dog"),
        ("1. A dog\n2. A cat", "1. A dog"),
        ("a line\nthat goes on. It", "a line\nthat goes on."),
    ],
)
def test_where_the_first_sentence_ends(text: str, first: str) -> None:
    assert sentences(text)[0].body == first
    assert read_on(text)[0] == len(first)


@pytest.mark.parametrize(
    "text", ["A ball", "A ball,", "Here is Dr. Smith", "There is fruit, e.g. apples", "", "1. ", "A."]
)
def test_what_has_not_ended(text: str) -> None:
    assert read_on(text)[0] is None


def test_an_emoji_at_the_end_trails_the_last_sentence() -> None:
    assert sentences("A dog. Fun! 🎉\n") == [Sentence("A dog.", " "), Sentence("Fun!", " 🎉\n")]
