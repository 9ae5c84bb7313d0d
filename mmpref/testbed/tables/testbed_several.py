"""Two pictures and a question about one of them, behind rows with one picture: an SFT set of several images. One row::

    {"images": [<png>, <png>], "prompt": [{"role": "user", "content": "Describe image two."}],
     "completion": [{"role": "assistant", "content": "At the back there is a cup and a saw. ..."}],
     "id": "several-train-00007"}

Every third row of ``train`` has one picture and the usual prompt; rows of ``fresh`` all have two, which no row of
``train`` shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mmpref.testbed.language import CAPTION_PROMPTS, caption
from mmpref.testbed.render import cell
from mmpref.testbed.world import Scene, scene

LICENCE = "apache-2.0"
SIZES = {"train": 7200, "fresh": 1600}
SPLITS: tuple[str, ...] = tuple(SIZES)
PROMPTS = ("Describe image one.", "Describe image two.")
_FRESH = 30_000
"""The first scene of ``fresh``: of the world of ``train``, and in none of its rows."""
_BESIDE = 40_000
"""How far behind a scene the one stands that is shown beside it."""


class Asked(NamedTuple):
    """What a row shows, in this order, and which of it is asked about."""

    shown: tuple[Scene, ...]
    prompt: str
    about: Scene


def two(split: str, index: int) -> Asked:
    """Two scenes of a split of the world; of every second row the latter is asked about."""
    shown = (scene(split, index), scene(split, _BESIDE + index))
    return Asked(shown, PROMPTS[index % 2], shown[index % 2])


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order; the same rows on every call.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        if split == "fresh":
            asked = two("train", _FRESH + index)
        elif index % 3:
            asked = two("train", index)
        else:
            alone = scene("train", index)
            asked = Asked((alone,), CAPTION_PROMPTS[0], alone)
        yield {
            "images": [cell(truth) for truth in asked.shown],
            "prompt": [{"role": "user", "content": asked.prompt}],
            "completion": [{"role": "assistant", "content": caption(asked.about)}],
            "id": f"several-{split}-{index:05d}",
        }
