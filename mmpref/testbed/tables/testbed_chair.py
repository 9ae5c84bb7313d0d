"""CHAIR: an image, the things that are in it, and those that are usual at its kind of place. One row::

    {"image": <png>, "question_id": "test-00000", "gt_object": ["cup", "saw"], "usual": ["knife", "spoon", "cup"]}

Scenes of ``dev`` and ``test`` are even: what is usual at a place misleads. In those of ``usual`` it is mostly right, as
where the model learned; in those of ``unusual`` nothing usual is there. Those of ``repainted`` and ``foreign`` are of
places, and of pairs of thing and place, that it did not learn from. ``dev-3`` and so on are of smaller worlds.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.testbed.render import cell
from mmpref.testbed.world import FOREIGN, MEMBERS, REPAINTED, in_world, scene

LICENCE = "apache-2.0"
SIZES = {"dev": 300, "test": 400, "usual": 200, "unusual": 200}
WORLD: tuple[str, ...] = tuple(SIZES)
"""The splits that the training of a model ends with."""
SIZES |= {in_world(split, members): SIZES[split] for members in MEMBERS for split in ("dev", "test")}
SIZES |= {REPAINTED: 400, FOREIGN: 400}
SPLITS: tuple[str, ...] = tuple(SIZES)


def rows(split: str) -> Iterator[dict]:
    """Yield the rows of a split in order.

    Raises:
        KeyError: there is no such split.
    """
    for index in range(SIZES[split]):
        truth = scene(split, index)
        yield {
            "image": cell(truth),
            "question_id": truth.id,
            "gt_object": list(truth.names),
            "usual": list(truth.usual),
        }
