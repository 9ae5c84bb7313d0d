"""Holding rows out for validation, so that no image is on both sides.

Images are the same where their bytes are, or their COCO ids (2014 and 2017 names, whatever the compression). Rows that
are linked by images, directly or through other rows, go together; a draw by the seed and the images themselves decides
where, so that the order of the rows, shards and restarts do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from mmpref.rng import stream
from mmpref.tables.image_roots import coco_id
from mmpref.types import ImageData

VALIDATION = "validation"


def keys_of(images: Iterable[ImageData]) -> list[str]:
    """What the images of a row are known by."""
    keys = set()
    for image in images:
        keys.add(hashlib.sha256(image.content).hexdigest()[:32])
        if (number := coco_id(image.name)) is not None:
            keys.add(f"coco-{number}")
    return sorted(keys)


def held_out(rows: Sequence[Sequence[str]], share: float, seed: int) -> list[bool]:
    """Which rows are for validation: of the groups that share no image, each with this probability.

    Args:
        rows: `keys_of` each row.
    """
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for keys in rows:
        for key in keys[1:]:
            first, other = sorted((find(keys[0]), find(key)))
            leader[other] = first  # the least key leads, in whatever order rows come
    drawn = {key: stream(seed, key, VALIDATION).random() < share for key in {find(keys[0]) for keys in rows if keys}}
    return [bool(keys) and drawn[find(keys[0])] for keys in rows]
