"""Labelled pairs on unbiased scenes: a true caption, and one in which a thing is another. One row::

{"images": [<png>], "prompt": [{"role": "user", "content": "Please describe this image in detail."}],
 "chosen": [{"role": "assistant", "content": "..."}], "rejected": [{"role": "assistant", "content": "..."}],
 "source": "captions"}
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.language import CAPTION_PROMPTS, caption
from mmpref.testbed.render import cell
from mmpref.testbed.world import SHAPES, scene, stream

SPLITS: tuple[str, ...] = ("dev", "test")
LICENCE = "apache-2.0"
SIZES = {"dev": 200, "test": 200}


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene(split, index)
        absent = [shape for shape in SHAPES if shape not in truth.shapes]
        draws = stream(split, index, 2)
        old, new = truth.shapes[draws.integers(len(truth.shapes))], absent[draws.integers(len(absent))]
        chosen = caption(truth)
        yield {
            "images": [cell(truth)],
            "prompt": [{"role": "user", "content": CAPTION_PROMPTS[0]}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": chosen.replace(old, new)}],
            "source": "captions",
        }
