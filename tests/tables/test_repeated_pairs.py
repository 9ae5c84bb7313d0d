"""Pairs that repeat or contradict others are counted, whatever the order in which they come."""

from __future__ import annotations

import random

import pytest

from mmpref.tables.repeated_pairs import RepeatedPairs, pair_keys, repeated_warnings
from mmpref.types import ImageData, Message

Plain = tuple[bytes, str, str, str]


def counted(pairs: list[Plain]) -> dict[str, int]:
    found = RepeatedPairs()
    for image, prompt, chosen, rejected in pairs:
        found.add(pair_keys([ImageData(image)], [Message("user", prompt)], chosen, rejected))
    return found.counts()


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_comparing_every_two(seed: int) -> None:
    draw = random.Random(seed)
    pairs: list[Plain] = [
        (draw.choice([b"1", b"2"]), draw.choice("pq"), *draw.sample("abc", 2))  # type: ignore[list-item]
        for _ in range(40)
    ]
    assert counted(pairs) == {
        "duplicates": sum(pair in pairs[:place] for place, pair in enumerate(pairs)),
        "conflicts": sum((*pair[:2], pair[3], pair[2]) in pairs for pair in pairs),
    }


def test_a_ranking_neither_repeats_nor_contradicts_itself() -> None:
    ranked: list[Plain] = [(b"1", "p", *pair) for pair in (("a", "b"), ("b", "c"), ("a", "c"))]  # type: ignore[misc]
    assert counted(ranked) == {}
    assert repeated_warnings(counted(ranked), 3) == []


def test_where_images_end_and_texts_begin_tells_pairs_apart() -> None:
    keys = [
        pair_keys([ImageData(one) for one in images], [Message("user", prompt)], *answers)
        for images, prompt, answers in (
            ((b"1", b"2"), "p", ("a", "b")),
            ((b"12",), "p", ("a", "b")),
            ((b"1", b"2"), "pa", ("", "b")),
            ((b"1", b"2"), "p", ("ab", "")),
        )
    ]
    assert len({key.own for key in keys}) == len(keys)


def test_the_sentences_say_how_many_of_how_many() -> None:
    assert repeated_warnings({"duplicates": 1, "conflicts": 2}, 5000) == [
        "1 of 5,000 pairs repeat an earlier one: the same images, prompt and answers.",
        "2 of 5,000 pairs contradict another one: the same images and prompt, with chosen and rejected swapped.",
    ]
