"""Rows that nearly repeat, and what only rejected answers say."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mmpref.data.near_duplicates import NearDuplicates, RepeatedPhrases
from mmpref.types import ImageData


def picture(seed: int, size: int = 64, **saving: object) -> ImageData:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(buffer, **({"format": "PNG"} | saving))
    return ImageData(buffer.getvalue())


def words(seed: int, count: int = 60) -> str:
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 5000, count))


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    near = NearDuplicates()
    for number in range(300):
        near.add(number, [words(number)], [picture(number)])
    near.add(300, [words(7) + " w1"], [picture(1000)])
    near.add(301, [words(1001)], [picture(9, 200, format="JPEG", quality=70)])
    near.add(302, [words(7) + " w1"], [])
    assert near.matches["texts"] == {"count": 2, "first": [{"row": 300, "like": 7}, {"row": 302, "like": 7}]}
    assert near.matches["image"] == {"count": 1, "first": [{"row": 301, "like": 9}]}


def test_sentences_that_only_rejected_answers_repeat() -> None:
    repeats = RepeatedPhrases()
    for number in range(200):
        rejected = f"Row {number} has a cat. " + ("The image  is blurry. " if number % 4 == 0 else "") + "It sleeps."
        repeats.add(f"Row {number} has a dog. It sleeps.", rejected)
    found = repeats.report()
    assert found["sentences"] == [{"text": "the image is blurry.", "rejected": 50, "chosen": 0}]
    assert found["tells"]["talk of a bad image"] == {"rejected": 50, "chosen": 0}
    assert found["tells"]["refusals"] == {"rejected": 0, "chosen": 0}


def test_refusals_are_counted_in_both() -> None:
    repeats = RepeatedPhrases()
    repeats.add("I'm sorry, I cannot help.", "As an AI, I am unable to see images.")
    repeats.add("A dog.", "I can't tell.")
    assert repeats.report()["tells"]["refusals"] == {"rejected": 2, "chosen": 1}
