"""Detailed captions of even scenes, in the columns of Object HalBench with the objects beside them. One row::

{"org_idx": 0, "image_id": "test-00000", "question": "Please describe this image in detail.", "image": <png>,
 "gt_object": ["cup", "egg"]}

The prompts take turns, as the eight do there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
ROWS = 300


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    for index in range(ROWS):
        truth = scene(split, index)
        yield {
            "org_idx": index,
            "image_id": truth.id,
            "question": CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)],
            "image": cell(truth),
            "gt_object": list(truth.names),
        }
