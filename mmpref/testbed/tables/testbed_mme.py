"""Two questions an image, one with the answer yes and one with no, in the columns of MME. One row::

    {"question_id": "position/test-00000.png", "image": <png>, "category": "position", "answer": "No",
     "question": "Is the cup at the back? Please answer yes or no."}

Existence asks for a thing of the image, and for one that is usual at the place and not there; position for the row of a
thing.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import Question, ask_exists, ask_is_in
from mmpref.testbed.render import cell
from mmpref.testbed.world import ROWS, scene, stream, tempting

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
IMAGES = {"dev": 100, "test": 150}
CATEGORIES = ("existence", "position")


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
    truth, rng = scene(split, index), stream(split, index, 3)
    thing = truth.things[rng.integers(len(truth.things))]
    if category == "position":
        others = [row for row in ROWS if row != thing.row]
        return [ask_is_in(thing, thing.row), ask_is_in(thing, others[rng.integers(len(others))])]
    usual = tempting(truth)
    return [ask_exists(thing.name, True), ask_exists(usual[rng.integers(len(usual))], False)]
