"""Two questions an image, one with the answer yes and one with no, in the columns of MME. One row::

{"question_id": "color/test-00000.png", "image": <png>, "category": "color", "answer": "No",
 "question": "Is the ring red? Please answer yes or no."}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import Question, ask_exists, ask_is_colour
from mmpref.testbed.render import cell
from mmpref.testbed.world import COLOURS, SHAPES, scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
IMAGES = {"dev": 100, "test": 150}
CATEGORIES = ("existence", "color")


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split, category by category.

    Raises:
        KeyError: there is no such split.
    """
    for category in CATEGORIES:
        for index in range(IMAGES[split]):
            truth = scene(split, index)
            for question in _asked(split, index, category):
                yield {
                    "question_id": f"{category}/{truth.id}.png",
                    "image": cell(truth),
                    "question": f"{question.text} Please answer yes or no.",
                    "answer": question.word,
                    "category": category,
                }


def _asked(split: str, index: int, category: str) -> list[Question]:
    truth, rng = scene(split, index), stream(split, index, 2)
    thing = truth.things[rng.integers(len(truth.things))]
    if category == "color":
        others = [colour for colour in COLOURS if colour != thing.colour]
        return [ask_is_colour(thing, thing.colour), ask_is_colour(thing, others[rng.integers(len(others))])]
    absent = [shape for shape in SHAPES if shape not in truth.shapes]
    return [ask_exists(thing.shape, True), ask_exists(absent[rng.integers(len(absent))], False)]
