"""Captions and yes/no questions on even scenes, in the columns of AMBER's queries and annotations. Two rows::

    {"id": 1, "image": <png>, "image_id": "test-00000", "query": "Please describe this image in detail.",
     "type": "generative", "truth": ["cup", "egg"], "hallu": ["knife"]}
    {"id": 2, "image": <png>, "image_id": "test-00000", "query": "Is there a cup in the image?",
     "type": "discriminative-hallucination", "truth": "yes", "hallu": []}

``hallu`` has what is usual at the place and not there. The relation that is asked about is that of a thing to a row:
"Is the cup at the back?". As AMBER reads word by word, names of two words are known by the second ("phone"), and a hot
dog by either word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmpref.testbed.language import CAPTION_PROMPTS, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import Scene, scene, stream, tempting

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
IMAGES = {"dev": 80, "test": 120}
_TYPES = {"exists": "discriminative-hallucination", "is_in": "discriminative-relation"}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split: of each scene a caption and two questions.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(IMAGES[split]):
        truth, rng = scene(split, index), stream(split, index, 3)
        number = index * (1 + len(_TYPES)) + 1
        yield _row(number, truth, CAPTION_PROMPTS[0], "generative", list(truth.names), tempting(truth))
        for offset, (kind, name) in enumerate(_TYPES.items(), 1):
            question = draw_question(truth, kind, rng)
            yield _row(number + offset, truth, question.text, name, question.word.lower(), [])


def _row(number: int, truth: Scene, query: str, kind: str, answer: Any, imagined: list[str]) -> dict[str, Any]:
    return {
        "id": number,
        "image": cell(truth),
        "image_id": truth.id,
        "query": query,
        "type": kind,
        "truth": answer,
        "hallu": imagined,
    }
