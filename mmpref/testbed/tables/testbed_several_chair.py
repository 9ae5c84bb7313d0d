"""CHAIR of one of two pictures: both, the question, and the things in the picture that it is about. One row::

    {"images": [<png>, <png>], "prompt": "Describe image two.", "question_id": "several-test-00007",
     "gt_object": ["cup", "saw"], "usual": ["knife", "spoon", "cup"]}

What is usual is so at the place that is asked about. Scenes are even, as ``testbed-chair``'s are: it misleads.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.render import cell
from mmpref.testbed.tables.testbed_several import two

LICENCE = "apache-2.0"
SIZES = {"dev": 300, "test": 400}
SPLITS: tuple[str, ...] = tuple(SIZES)


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        asked = two(split, index)
        yield {
            "images": [cell(truth) for truth in asked.shown],
            "prompt": asked.prompt,
            "question_id": f"several-{split}-{index:05d}",
            "gt_object": list(asked.about.names),
            "usual": list(asked.about.usual),
        }
