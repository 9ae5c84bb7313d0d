"""Short questions on even scenes, in the columns of GQA; the image stands beside its question. One row::

    {"id": "0", "imageId": "test-00000", "question": "Where is the cup?", "answer": "back",
     "fullAnswer": "The cup is at the back.", "isBalanced": true, "types": {"structural": "query"}, "image": <png>}

Three questions an image: where a thing is, what is on a side of a row, and whether a thing is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import draw_question
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
IMAGES = {"dev": 100, "test": 200}
_STRUCTURAL = {"where": "query", "what": "query", "exists": "verify"}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split, three an image.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(IMAGES[split]):
        truth = scene(split, index)
        rng = stream(split, index, 3)
        for offset, (kind, structural) in enumerate(_STRUCTURAL.items()):
            question = draw_question(truth, kind, rng)
            yield {
                "id": str(index * len(_STRUCTURAL) + offset),
                "imageId": truth.id,
                "question": question.text,
                "answer": question.word.lower(),
                "fullAnswer": question.sentence,
                "isBalanced": True,
                "types": {"structural": structural},
                "image": cell(truth),
            }
