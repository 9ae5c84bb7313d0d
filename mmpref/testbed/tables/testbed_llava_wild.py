"""Open questions on unbiased scenes with a true answer to be judged beside, in the columns of LLaVA-Bench. One row::

{"question_id": 0, "question": "Where is the ring?", "image": <png>, "caption": "A red ring is in the top left. ...",
 "gpt_answer": "The ring is in the top left.", "category": "conv", "image_id": "test-00000"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, caption, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 60
CATEGORIES = ("conv", "detail", "complex")


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        category = CATEGORIES[index % len(CATEGORIES)]
        question, answer = CAPTION_PROMPTS[0], caption(truth)
        if category != "detail":
            drawn = draw_question(truth, "place" if category == "conv" else "colour", stream(split, index, 2))
            question, answer = drawn.text, drawn.sentence
        yield {
            "question_id": index,
            "question": question,
            "image": cell(truth),
            "caption": caption(truth),
            "gpt_answer": answer,
            "category": category,
            "image_id": truth.id,
        }
