"""Questions of MMHal-Bench's eight types on even scenes, in its columns with the image beside them. One row::

    {"question_type": "relation", "question_topic": "kitchen", "image_id": "test-00004", "image_src": "",
     "image_content": ["cup", "fork", "egg", "saw"], "question": "Where is the cup?",
     "gt_answer": "The cup is at the back.", "model_answer": "", "image": <png>}

As there, row i is of type i modulo 8. Things of this world have no attributes, and are not compared: what is on a side
of a row, and whether a thing is in a row, are asked in their stead. The environment is the kind of place.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, draw_question
from mmpref.testbed.reference import description
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 96
_ASKED = {
    "attribute": "what",
    "adversarial": "exists",
    "comparison": "is_in",
    "counting": "how_many",
    "relation": "where",
    "environment": "kind",
    "holistic": "",
    "other": "what",
}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        question_type = list(_ASKED)[index % len(_ASKED)]
        question, answer = CAPTION_PROMPTS[0], description(truth)
        if _ASKED[question_type]:
            drawn = draw_question(truth, _ASKED[question_type], stream(split, index, 3))
            question, answer = drawn.text, drawn.sentence
        yield {
            "question_type": question_type,
            "question_topic": truth.kind,
            "image_id": truth.id,
            "image_src": "",
            "image_content": list(truth.names),
            "question": question,
            "gt_answer": answer,
            "model_answer": "",
            "image": cell(truth),
        }
