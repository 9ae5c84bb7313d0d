"""Questions with parts that must all be named, in the columns of MM-Vet. One row::

    {"question_id": "v1_1", "question": "Where is the cup?", "answer": "back", "image": <png>,
     "image_source": "testbed", "capability": "rec,spat"}

They ask for the kind of place, where a thing is, what is on a side of a row, and for a description that names all.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 88
_CAPABILITIES = {"kind": "rec", "where": "rec,spat", "what": "rec,spat", "caption": "rec,gen"}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        kind = list(_CAPABILITIES)[index % len(_CAPABILITIES)]
        question, answer = CAPTION_PROMPTS[0], "<AND>".join(truth.names)
        if kind != "caption":
            drawn = draw_question(truth, kind, stream(split, index, 3))
            question, answer = drawn.text, drawn.word.lower()
        yield {
            "question_id": f"v1_{index}",
            "question": question,
            "answer": answer,
            "image": cell(truth),
            "image_source": "testbed",
            "capability": _CAPABILITIES[kind],
        }
