"""Questions with parts that must all be named, in the columns of MM-Vet. One row::

{"question_id": "v1_0", "question": "Where is the ring?", "answer": "top left", "image": <png>,
 "image_source": "testbed", "capability": "rec,spat"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 90
_KINDS = {"colour": "rec", "place": "rec,spat", "caption": "rec,gen"}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        kind = list(_KINDS)[index % len(_KINDS)]
        question = CAPTION_PROMPTS[0]
        answer = "<AND>".join(f"{thing.colour} {thing.shape}" for thing in truth.things)
        if kind != "caption":
            drawn = draw_question(truth, kind, stream(split, index, 2))
            question, answer = drawn.text, drawn.word.lower()
        yield {
            "question_id": f"v1_{index}",
            "question": question,
            "answer": answer,
            "image": cell(truth),
            "image_source": "testbed",
            "capability": _KINDS[kind],
        }
