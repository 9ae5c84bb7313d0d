"""One question on two figures, in the columns of HallusionBench; what the world makes expect is wrong on one. One row::

    {"category": "VS", "subcategory": "place", "visual_input": "2", "set_id": "0", "figure_id": "1",
     "question_id": "0", "question": "This is a kitchen. Is there a knife in the image?",
     "gt_answer": "0", "gt_answer_details": "No, there is no knife in the image.", "image": <png>}

VD asks whether a thing is there, of a scene with it and of another of the same kind of place without. VS asks for a
thing that is usual at a place: without a figure (split ``non_image``), where it is yes, and of a figure of the place
without it (as with HallusionBench's edited figures, ``visual_input`` is 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mmpref.testbed.language import Question, a, ask_exists, kind_sentence
from mmpref.testbed.render import cell
from mmpref.testbed.world import Scene, scene, stream, tempting

SPLITS: tuple[str, ...] = ("image", "non_image")
LICENCE = "apache-2.0"
SETS = 80
"""Of each category."""


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for number in range(SETS):
        truth, rng = scene("test", number), stream("test", number, 3)
        name = truth.names[rng.integers(len(truth.names))]
        expected = tempting(truth)[rng.integers(len(tempting(truth)))]
        vd, vs = str(2 * number), str(2 * number + 1)
        if split == "image":
            yield _row("VD", "thing", vd, 0, "1", ask_exists(name, True), True, truth)
            yield _row("VD", "thing", vd, 1, "2", ask_exists(name, False), False, _without(name, truth))
            yield _row("VS", "place", vs, 1, "2", _ask_at(expected, truth.kind, False), False, truth)
        else:
            yield _row("VS", "place", vs, 0, "0", _ask_at(expected, truth.kind, True), True, None)


def _without(name: str, truth: Scene) -> Scene:
    """The next scene of the same kind of place that does not hold a thing."""
    others = (scene(truth.split, index) for index in itertools.count(truth.index + 1))
    return next(other for other in others if other.kind == truth.kind and name not in other.names)


def _ask_at(name: str, kind: str, true: bool) -> Question:
    """Ask for a thing with the kind of place named; without a figure it is true as far as one can expect."""
    asked = ask_exists(name, true)
    sentence = f"Yes, {a(name)} is usual there." if true else asked.sentence
    return replace(asked, text=f"{kind_sentence(kind)} {asked.text}", sentence=sentence)


def _row(
    category: str,
    subcategory: str,
    number: str,
    figure: int,
    visual: str,
    asked: Question,
    true: bool,
    truth: Scene | None,
) -> dict[str, Any]:
    return {
        "category": category,
        "subcategory": subcategory,
        "visual_input": visual,
        "set_id": number,
        "figure_id": str(figure),
        "question_id": "0",
        "question": asked.text,
        "gt_answer": "1" if true else "0",
        "gt_answer_details": asked.sentence,
        "image": cell(truth) if truth else None,
    }
