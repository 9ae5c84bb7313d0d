"""CHAIR on unbiased scenes: an image and the shapes that are in it. One row::

{"image": <png>, "question_id": "test-00000", "gt_object": ["ring", "star"]}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.render import cell
from mmpref.testbed.world import scene

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
SIZES = {"dev": 300, "test": 400}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene(split, index)
        yield {"image": cell(truth), "question_id": truth.id, "gt_object": list(truth.shapes)}
