"""Colours asked for on unbiased scenes, with ten people's answers and words to read, in TextVQA's columns. One row::

    {"image_id": "test-00000", "question_id": 0, "question": "What color is the ring?", "image": <png>,
     "answers": ["red", "Red", "The red.", ..., "ring"], "ocr_tokens": ["red", "ring"]}

Eight people say the colour, each in another way of writing it, and two name the shape.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import ask_colour
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
SIZES = {"dev": 200, "test": 300}
_WRITTEN = ("{}", "{}", "{}.", "the {}", "A {}", "{}?", " {} ", "{}!")


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene(split, index)
        thing = truth.things[stream(split, index, 2).integers(len(truth.things))]
        colours = [form.format(thing.colour.capitalize() if i % 2 else thing.colour) for i, form in enumerate(_WRITTEN)]
        yield {
            "image_id": truth.id,
            "question_id": index,
            "question": ask_colour(thing).text,
            "answers": [*colours, thing.shape, thing.shape],
            "image": cell(truth),
            "ocr_tokens": [thing.colour, thing.shape],
        }
