"""Holding rows out for validation, so that no image is on both sides, and the pairs of one row are on one.

Images are the same where their bytes are, or their COCO ids (2014 and 2017 names, whatever the compression), or where
one is the other saved again (`mmpref.data.perceptual_hash`). Pairs that are linked by images or by the row that they
were made of, directly or through others, go together; a draw by the seed and the images themselves decides where, so
that the order of the rows, shards and restarts do not.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.errors import ImageError
from mmpref.rng import stream
from mmpref.tables.image_roots import coco_id
from mmpref.types import Example, ImageData

VALIDATION = "validation"
_HASH_KEY = (
    "looks-"  # after the digits of a hash and "coco-": the least key of a group decides, and that is no thumbnail
)


_ROW_KEY = "row-"
"""It comes after those of images in the order of letters, for the same reason."""


def split_keys(example: Example) -> list[str]:
    """What the images of an example, and the rows that it was made of, are known by: those that share one go
    together."""
    rows = {name for name in (example.source_id, example.made_from_row) if name}
    own = {f"{_ROW_KEY}{hashlib.sha256(name.encode()).hexdigest()[:32]}" for name in rows}
    return sorted({*image_keys((*example.images, *example.made_from)), *own})


def image_keys(images: Iterable[ImageData]) -> list[str]:
    """What the images of a row are known by."""
    keys = set()
    for image in images:
        keys.add(image.sha256.hex()[:32])
        if (number := coco_id(image.name)) is not None:
            keys.add(f"coco-{number}")
        with contextlib.suppress(ImageError):
            keys.add(f"{_HASH_KEY}{PerceptualHash.of(image)}")
    return sorted(keys)


def validation_mask(rows: Sequence[Sequence[str]], share: float, seed: int) -> list[bool]:
    """Which rows are for validation: of the groups that share no key, each with this probability.

    Args:
        rows: `split_keys` of each.
    """
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    def link(key: str, other: str) -> None:
        first, second = sorted((find(key), find(other)))
        leader[second] = first  # the least key leads, in whatever order rows come

    for keys in rows:
        for key in keys[1:]:
            link(keys[0], key)
    for key, other in _near_keys({key for keys in rows for key in keys if key.startswith(_HASH_KEY)}):
        link(key, other)
    in_validation = {
        key: stream(seed, key, VALIDATION).random() < share for key in {find(keys[0]) for keys in rows if keys}
    }
    return [bool(keys) and in_validation[find(keys[0])] for keys in rows]


def _near_keys(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """All pairs of keys whose images are one picture, saved again."""
    index, ordered = NearIndex(), sorted(keys)
    for key in ordered:
        image_hash = PerceptualHash.parse(key.removeprefix(_HASH_KEY))
        for number in index.near(image_hash):
            yield key, ordered[number]
        index.add(image_hash)
