"""Open questions on even scenes with a true answer to be judged beside, in the columns of LLaVA-Bench. One row::

    {"question_id": 0, "question": "Where is the cup?", "image": <png>, "caption": "There is a cup and a fork ...",
     "gpt_answer": "The cup is at the back.", "category": "conv", "image_id": "test-00000"}

Conversation asks where a thing is, detail for a description, and complex what is on a side of a row.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, draw_question
from mmpref.testbed.reference import description
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 60
_ASKED = {"conv": "where", "detail": "", "complex": "what"}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        category = list(_ASKED)[index % len(_ASKED)]
        question, answer = CAPTION_PROMPTS[0], description(truth)
        if _ASKED[category]:
            drawn = draw_question(truth, _ASKED[category], stream(split, index, 3))
            question, answer = drawn.text, drawn.sentence
        yield {
            "question_id": index,
            "question": question,
            "image": cell(truth),
            "caption": description(truth),
            "gpt_answer": answer,
            "category": category,
            "image_id": truth.id,
        }
