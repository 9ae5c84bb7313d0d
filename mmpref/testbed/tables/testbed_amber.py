"""Captions and yes/no questions on unbiased scenes, in the columns of AMBER's queries and annotations. Two rows::

    {"id": 1, "image": <png>, "image_id": "test-00000", "query": "Please describe this image in detail.",
     "type": "generative", "truth": ["ring", "star"], "hallu": ["moon"]}
    {"id": 2, "image": <png>, "image_id": "test-00000", "query": "Is there a ring in the image?",
     "type": "discriminative-hallucination", "truth": "yes", "hallu": []}

``hallu`` has the shapes that come with those of the scene where the model learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmpref.testbed.language import CAPTION_PROMPTS, draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import PARTNER, Scene, scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
IMAGES = {"dev": 80, "test": 120}
_TYPES = {"exists": "discriminative-hallucination", "is_colour": "discriminative-attribute-state"}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split: of each scene a caption and two questions.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(IMAGES[split]):
        truth, rng = scene(split, index), stream(split, index, 2)
        number = index * (1 + len(_TYPES)) + 1
        partners = [PARTNER[shape] for shape in truth.shapes if PARTNER[shape] not in truth.shapes]
        yield _row(number, truth, CAPTION_PROMPTS[0], "generative", list(truth.shapes), partners)
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
