"""The SFT set with the names of the things in each image: the rows of ``testbed``, and ``objects``. One row::

{"images": [<png>], "prompt": [{"role": "user", "content": "Where is the cup?"}],
 "completion": [{"role": "assistant", "content": "The cup is at the back."}], "id": "train-00007",
 "objects": ["cup", "saw", "axe", "fork"]}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.oracle import scene_of
from mmpref.testbed.tables import testbed

SPLITS = testbed.SPLITS
LICENCE = testbed.LICENCE
SIZES = testbed.SIZES


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order; the same rows on every call.

    Raises:
        KeyError: there is no such split.
    """
    for row in testbed.rows(split):
        yield {**row, "objects": list(scene_of(row["id"]).names)}
