"""Colours with four options, in the columns of MMStar; the shipped model was never taught letters. One row::

{"index": 0, "question": "What color is the ring?\\nOptions: A: red, B: blue, C: white, D: green", "answer": "A",
 "image": <png>, "category": "fine-grained perception", "l2_category": "recognition", "meta_info": {}}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import ask_colour
from mmpref.testbed.render import cell
from mmpref.testbed.world import COLOURS, scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
SIZES = {"dev": 100, "test": 200}
LETTERS = "ABCD"


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene(split, index)
        rng = stream(split, index, 2)
        thing = truth.things[rng.integers(len(truth.things))]
        others = [str(colour) for colour in rng.permutation([c for c in COLOURS if c != thing.colour])]
        place = int(rng.integers(len(LETTERS)))
        options = [*others[:place], thing.colour, *others[place : len(LETTERS) - 1]]
        listed = ", ".join(f"{letter}: {option}" for letter, option in zip(LETTERS, options, strict=True))
        yield {
            "index": index,
            "question": f"{ask_colour(thing).text}\nOptions: {listed}",
            "image": cell(truth),
            "answer": LETTERS[place],
            "category": "fine-grained perception",
            "l2_category": "recognition",
            "meta_info": {},
        }
