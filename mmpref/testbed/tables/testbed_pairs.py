"""Labelled pairs on even scenes: a true caption, and one with a usual thing of the place that is not there. One row::

{"images": [<png>], "prompt": [{"role": "user", "content": "Please describe this image in detail."}],
 "chosen": [{"role": "assistant", "content": "..."}], "rejected": [{"role": "assistant", "content": "..."}],
 "source": "captions"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, caption
from mmpref.testbed.oracle import mentions
from mmpref.testbed.reference import with_other
from mmpref.testbed.render import cell
from mmpref.testbed.world import scene, stream, tempting

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
SIZES = {"dev": 200, "test": 200}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth, draws = scene(split, index), stream(split, index, 3)
        chosen, usual = caption(truth), tempting(truth)
        said = mentions(chosen)
        old, new = said[draws.integers(len(said))], usual[draws.integers(len(usual))]
        yield {
            "images": [cell(truth)],
            "prompt": [{"role": "user", "content": CAPTION_PROMPTS[0]}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": caption(with_other(truth, old, new))}],
            "source": "captions",
        }
