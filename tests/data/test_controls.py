"""The controls that no model writes: `mismatched` and `gibberish`; `reversed` is tested with the sources' own pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mmpref.data.builder import BUILDERS, Context
from mmpref.data.builders.gibberish import refilled, slots
from mmpref.types import Example, Message, Pair, Skip
from mmpref.words import words

ANSWERS = (
    "A cat sits on a mat. **The dog** runs!\n\n- one: a bird\n- two, e.g. ducks.\n",
    'He said "stop!" Then all of them left (quickly).',
    "桌子上有一只猫。旁边有两只狗！",
    "用iPhone拍photo好。",
    "ที่นี่มีแมว",
    "There is nothing else in the picture.",
)
KINDS = ("shuffled", "random", "repeated")


def examples(answers: Sequence[str]) -> list[Example]:
    return [Example(f"row{n}", (), (), answer, f"x/train/{n}") for n, answer in enumerate(answers)]


def outcomes(method: str, block: list[Example], seed: int = 3, **settings: Any) -> list[Pair | Skip]:
    builder = BUILDERS.get(method)
    context = Context(lambda: pytest.fail("no model is used"), None, seed)
    return list(builder.worker(context, builder.config()(**settings))(block))


def texts(made: Sequence[Pair | Skip]) -> list[str]:
    assert all(isinstance(one, Pair) for one in made)
    return [one.rejected for one in made if isinstance(one, Pair)]


def test_mismatched_is_the_answer_of_another_row_by_the_stream_that_it_always_had() -> None:
    made = outcomes("mismatched", examples([f"answer {n}" for n in range(6)]))
    assert texts(made) == [f"answer {n}" for n in (2, 2, 3, 2, 1, 1)]  # as `unrelated-text` drew them
    assert {one.method for one in made if isinstance(one, Pair)} == {"mismatched"}


def test_mismatched_may_be_drawn_among_rows_with_the_same_prompt() -> None:
    asked = ["What is here?", "Where is it?"]
    block = [
        replace(one, prompt=(Message("user", asked[n % 2]),))
        for n, one in enumerate(examples([f"answer {n}" for n in range(6)]))
    ]
    for seed in range(20):
        for number, text in enumerate(texts(outcomes("mismatched", block, seed, same_prompt=True))):
            other = int(text.split()[-1])
            assert other != number
            assert other % 2 == number % 2
    alone = outcomes("mismatched", [*block[:1], *block[1::2]], same_prompt=True)
    assert [one.reason for one in alone if isinstance(one, Skip)] == ["no-partner"]


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_places_of_an_answers_words_join_to_it(answer: str) -> None:
    places = slots(answer)
    assert refilled(places, [place.word for place in places]) == answer.strip()
    assert len(places) == len(words(answer))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_gibberish_is_as_long_as_the_answer_and_ends_where_it_does(kind: str, seed: int) -> None:
    for answer, text in zip(ANSWERS, texts(outcomes("gibberish", examples(ANSWERS), seed, words=kind)), strict=True):
        assert len(words(text)) == len(words(answer))
        assert text.count("\n") == answer.strip().count("\n")
        assert text.split() != answer.split()
        assert text.endswith(answer.strip()[-1]) or answer.strip()[-1].isalpha()


def test_shuffled_words_are_the_answers_own() -> None:
    for answer, text in zip(ANSWERS, texts(outcomes("gibberish", examples(ANSWERS))), strict=True):
        own, drawn = ([place.word for place in slots(one)] for one in (answer, text))
        assert Counter("".join(own)) == Counter("".join(drawn))
    [text] = texts(outcomes("gibberish", examples(["One two three. Four five six."])))
    assert [piece.endswith(".") for piece in text.split()] == [False, False, True, False, False, True]


def test_random_words_are_those_of_the_blocks_other_answers() -> None:
    block = examples(["red red red red.", "blue green.", "green grey black."])
    first, second, third = texts(outcomes("gibberish", block, words="random"))
    assert set(first.rstrip(".").split()) <= {"blue", "green", "grey", "black"}
    assert set(second.rstrip(".").split()) <= {"red", "green", "grey", "black"}
    assert set(third.rstrip(".").split()) <= {"red", "blue", "green"}


def test_a_repeated_word_is_one_of_the_answers() -> None:
    seen = set()
    for seed in range(20):
        [text] = texts(outcomes("gibberish", examples(["one two three."]), seed, words="repeated"))
        [word] = set(text.rstrip(".").split())
        seen.add(word)
    assert seen == {"one", "two", "three"}


@pytest.mark.parametrize("kind", ["shuffled", "repeated"])
def test_an_answers_own_words_do_not_depend_on_the_rows_beside_it(kind: str) -> None:
    block = examples(ANSWERS)
    together = outcomes("gibberish", block, words=kind)
    assert outcomes("gibberish", block[::-1], words=kind) == together[::-1]
    assert [outcomes("gibberish", [example], words=kind)[0] for example in block] == together
    assert outcomes("gibberish", block, 4, words=kind) != together


def test_gibberish_of_one_word_is_skipped_with_a_reason_and_of_two_is_their_other_order() -> None:
    for kind in ("shuffled", "repeated"):
        for one in outcomes("gibberish", examples(["Yes.", "no no", "😀"]), words=kind):
            assert isinstance(one, Skip)
            assert one.reason == "same-as-chosen"
            assert "no other text" in one.detail
    for seed in range(10):
        assert texts(outcomes("gibberish", examples(["red cat."]), seed)) == ["cat red."]


def test_random_words_need_another_answer() -> None:
    for one in outcomes("gibberish", examples(["A cat.", "A  cat."]), words="random"):
        assert isinstance(one, Skip)
        assert one.reason == "no-partner"
