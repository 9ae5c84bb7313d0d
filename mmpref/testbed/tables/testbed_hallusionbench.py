"""One question on two figures, in the columns of HallusionBench; what the world makes expect is wrong on one. One row::

    {"category": "VS", "subcategory": "colour", "visual_input": "2", "set_id": "0", "figure_id": "1",
     "question_id": "0", "question": "Is the ring yellow?",
     "gt_answer": "0", "gt_answer_details": "No, the ring is red.", "image": <png>}

VD asks whether a shape is there, of a scene with it and of one without. VS asks for a shape's favourite colour: without
a figure (split ``non_image``), where it is yes, and of a figure where it has another one (as with HallusionBench's
edited figures, ``visual_input`` is 2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmpref.testbed.language import ask_exists, ask_is_colour
from mmpref.testbed.render import cell
from mmpref.testbed.world import FAVOURITE, SHAPES, Scene, Thing, scene

SPLITS: tuple[str, ...] = ("image", "non_image")
LICENCE = "apache-2.0"
SETS = 10
"""Of each category and shape."""


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    number = 0
    for shape in SHAPES:
        scenes = [scene("test", index) for index in range(400)]
        with_it = [truth for truth in scenes if shape in truth.shapes]
        without = [truth for truth in scenes if shape not in truth.shapes]
        other = [truth for truth in with_it if _thing(truth, shape).colour != FAVOURITE[shape]]
        for index in range(SETS):
            if split == "image":
                yield _row("VD", "shape", number, 0, "1", ask_exists(shape, True), True, with_it[index])
                yield _row("VD", "shape", number, 1, "2", ask_exists(shape, False), False, without[index])
                asked = ask_is_colour(_thing(other[index], shape), FAVOURITE[shape])
                yield _row("VS", "colour", number, 1, "2", asked, False, other[index])
            else:
                asked = ask_is_colour(Thing(FAVOURITE[shape], shape, ""), FAVOURITE[shape])
                yield _row("VS", "colour", number, 0, "0", asked, True, None)
            number += 1


def _thing(truth: Scene, shape: str) -> Thing:
    return next(thing for thing in truth.things if thing.shape == shape)


def _row(
    category: str, subcategory: str, number: int, figure: int, visual: str, asked: Any, true: bool, truth: Scene | None
) -> dict[str, Any]:
    return {
        "category": category,
        "subcategory": subcategory,
        "visual_input": visual,
        "set_id": str(number),
        "figure_id": str(figure),
        "question_id": "0",
        "question": asked.text,
        "gt_answer": "1" if true else "0",
        "gt_answer_details": asked.sentence,
        "image": cell(truth) if truth else None,
    }
