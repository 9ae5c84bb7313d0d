"""Which examples have pictures in common, whatever file each has them from."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence

from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.errors import ImageError
from mmpref.types import Example, ImageData

_BLOCKS = 3
"""A block is looked at when it is begun and when it is worked on, and another one of each kind in between."""


class Pictures:
    """Tells examples with other pictures from those with one in common, or with one saved again (scaled, compressed,
    converted). An image is hashed once while blocks that have it follow each other."""

    def __init__(self) -> None:
        self._hashed: deque[dict[bytes, PerceptualHash | None]] = deque(maxlen=_BLOCKS)

    def shared(self, block: Sequence[Example]) -> list[set[int]]:
        """For each example, the places in the block of those that have a picture in common with it, itself among them;
        none of one without images."""
        shown, near = self._numbered(block)
        own = [set().union(*(near[number] for number in numbers)) for numbers in shown]
        return [{place for place, other in enumerate(shown) if not pictures.isdisjoint(other)} for pictures in own]

    def groups(self, block: Sequence[Example]) -> list[int]:
        """For each example, the place of the first that is linked with it by pictures in common, directly or through
        others; its own where there is none before it."""
        first = list(range(len(block)))
        for own in self.shared(block):
            if len(own) > 1:
                linked = {first[place] for place in own}
                first = [min(linked) if place in linked else place for place in first]
        return first

    def others(self, block: Sequence[Example]) -> list[list[int]]:
        """For each example, the places in the block of those with as many images, all of other pictures."""
        counts = [len(example.images) for example in block]
        return [
            [place for place, other in enumerate(counts) if other == count > 0 and place not in shared]
            for count, shared in zip(counts, self.shared(block), strict=True)
        ]

    def _numbered(self, block: Sequence[Example]) -> tuple[list[list[int]], list[set[int]]]:
        """The numbers of each example's images, and of each number those of the same picture, itself among them."""
        digests = [[image.sha256 for image in example.images] for example in block]
        known = {digest: one for hashed in self._hashed for digest, one in hashed.items()}
        hashes: dict[bytes, PerceptualHash | None] = {}
        for example, names in zip(block, digests, strict=True):
            for image, name in zip(example.images, names, strict=True):
                if name not in hashes:
                    hashes[name] = known[name] if name in known else _hash(image)
        self._hashed.append(hashes)
        numbers: dict[bytes, int] = {}  # of equal pixels the same
        of_file = {name: numbers.setdefault(one.digest if one else name, len(numbers)) for name, one in hashes.items()}
        near = [{number} for number in range(len(numbers))]
        index = NearIndex()
        indexed: list[int] = []
        for name, one in hashes.items():
            if one:
                for other in index.near(one):
                    near[of_file[name]].add(indexed[other])
                    near[indexed[other]].add(of_file[name])
                index.add(one)
                indexed.append(of_file[name])
        return [[of_file[name] for name in names] for names in digests], near


def _hash(image: ImageData) -> PerceptualHash | None:
    """None for an image that cannot be decoded: whoever shows it to the model says so."""
    with contextlib.suppress(ImageError):
        return PerceptualHash.of(image)
    return None
