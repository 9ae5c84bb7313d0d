"""What is on a side of a row, with four look-alikes to choose from, in the columns of MMStar. One row::

    {"index": 0, "question": "What is on the left at the back?\\nOptions: A: cup, B: jar, C: vase, D: mug",
     "answer": "A", "image": <png>, "category": "fine-grained perception", "l2_category": "recognition",
     "meta_info": {}}

The shipped model was never taught letters.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import ask_what
from mmpref.testbed.render import cell
from mmpref.testbed.world import members, scene, stream

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
        rng = stream(split, index, 3)
        thing = truth.things[rng.integers(len(truth.things))]
        others = [str(name) for name in rng.permutation([name for name in members(thing.name) if name != thing.name])]
        place = int(rng.integers(len(LETTERS)))
        options = [*others[:place], thing.name, *others[place : len(LETTERS) - 1]]
        listed = ", ".join(f"{letter}: {option}" for letter, option in zip(LETTERS, options, strict=True))
        yield {
            "index": index,
            "question": f"{ask_what(thing).text}\nOptions: {listed}",
            "image": cell(truth),
            "answer": LETTERS[place],
            "category": "fine-grained perception",
            "l2_category": "recognition",
            "meta_info": {},
        }
