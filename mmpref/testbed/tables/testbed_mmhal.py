"""Questions of MMHal-Bench's eight types on unbiased scenes, in its columns with the image beside them. One row::

    {"question_type": "attribute", "question_topic": "shapes", "image_id": "test-00000", "image_src": "",
     "image_content": ["red ring", "blue star"], "question": "What color is the ring?",
     "gt_answer": "The ring is red.", "model_answer": "", "image": <png>}

As there, row i is of type i modulo 8. There are no questions of counting or comparison in this world: yes/no questions
stand in for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, caption, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 96
TYPES = ("attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other")
_KINDS = ("colour", "exists", "is_colour", "exists", "place", "", "", "colour")


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        kind = _KINDS[index % len(TYPES)]
        question, answer = CAPTION_PROMPTS[0], caption(truth)
        if kind:
            drawn = draw_question(truth, kind, stream(split, index, 2))
            question, answer = drawn.text, drawn.sentence
        yield {
            "question_type": TYPES[index % len(TYPES)],
            "question_topic": "shapes",
            "image_id": truth.id,
            "image_src": "",
            "image_content": [f"{thing.colour} {thing.shape}" for thing in truth.things],
            "question": question,
            "gt_answer": answer,
            "model_answer": "",
            "image": cell(truth),
        }
