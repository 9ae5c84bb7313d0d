"""Which images are one picture, saved again: scaled, compressed, converted or trimmed a little.

The hash of an image is its grey thumbnail. Two are near when both hold:

* *edges*: of the neighbouring cells that differ clearly in one of them, most do so in both, and the same way;
* *levels*: no cell differs by more than a bound. It is wide for photographs. It is narrow, and the colours must agree
  as well, for pictures that share much with others of their kind: those with a ground of one grey, as charts, pages and
  forms have, and plain gradients. Two bar charts of one layout have nearly all of their edges in common.

Pictures that have next to no edges are the same only if every pixel is. ``scripts/check_near_duplicates.py`` measures
what is found and what is called near wrongly.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mmpref.images import decode
from mmpref.types import ImageData

if TYPE_CHECKING:
    import numpy as np

SIDE = 32
"""Cells a side that are compared with their right and lower neighbours."""
_CELLS = (SIDE + 1) ** 2
_CORNERS = 12  # 2 x 2 cells of three colours
_CLEAR = (2.0, 0.25)
"""Neighbours differ clearly by more than so many levels of 255, and than this share of the picture's own spread."""
_COMMON_EDGES = 0.7
"""Share of clear edges that two pictures must have in common."""
_WIDE, _NARROW = 64, 16
"""Levels of 255 by which a cell may differ: of photographs, and of pictures with little of their own."""
_GROUND, _EDGES_EACH_WAY, _FEWEST = 0.3, 256, 16
"""A picture is a photograph if less than this share of its cells has one grey and so many edges rise and fall; one with
fewer edges than the last has next to none."""
_BLOCK = 8


_KNOWN: WeakKeyDictionary[ImageData, PerceptualHash] = WeakKeyDictionary()


@dataclass(frozen=True)
class PerceptualHash:
    """What a picture looks like.

    Args:
        cells: 33 x 33 grey levels, a byte each.
        corners: 2 x 2 colours (red, green, blue), a byte each.
        digest: of every pixel.
    """

    cells: bytes
    corners: bytes
    digest: bytes

    @classmethod
    def of(cls, image: ImageData) -> PerceptualHash:
        """The hash of an image, which is made once for as long as the image is held.

        Raises:
            ImageError: the image cannot be decoded.
        """
        if (known := _KNOWN.get(image)) is None:
            known = _KNOWN[image] = cls._made(image)
        return known

    @classmethod
    def _made(cls, image: ImageData) -> PerceptualHash:
        from PIL import Image

        picture = decode(image)
        digest = hashlib.blake2b(f"{picture.size}".encode() + picture.tobytes(), digest_size=16).digest()
        small = picture.resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX)
        return cls(small.convert("L").tobytes(), small.resize((2, 2), Image.Resampling.BOX).tobytes(), digest)

    def __str__(self) -> str:
        return base64.b64encode(self.cells + self.corners + self.digest).decode()

    @classmethod
    def parse(cls, text: str) -> PerceptualHash:
        """Read what `str` makes of a hash."""
        content = base64.b64decode(text)
        return cls(content[:_CELLS], content[_CELLS : _CELLS + _CORNERS], content[_CELLS + _CORNERS :])

    @cached_property
    def levels(self) -> np.ndarray:
        """(33, 33) int16."""
        import numpy as np

        return np.frombuffer(self.cells, dtype=np.uint8).reshape(SIDE + 1, SIDE + 1).astype(np.int16)

    @cached_property
    def edges(self) -> np.ndarray:
        """Bits, packed (uint64): first the cells that are clearly darker than a neighbour, then the lighter ones."""
        import numpy as np

        cells = self.levels
        steps = np.stack([cells[:SIDE, 1:] - cells[:SIDE, :SIDE], cells[1:, :SIDE] - cells[:SIDE, :SIDE]]).ravel()
        clear = max(_CLEAR[0], _CLEAR[1] * float(steps.std()))
        return np.packbits(np.concatenate([steps > clear, steps < -clear])).view(np.uint64)

    @cached_property
    def edge_count(self) -> int:
        """How many edges there are, of both kinds."""
        import numpy as np

        return int(np.bitwise_count(self.edges).sum())

    @cached_property
    def photographic(self) -> bool:
        """Whether the picture has enough of its own to be told from others of its kind by its edges."""
        import numpy as np

        rising, falling = np.bitwise_count(self.edges).reshape(2, -1).sum(axis=1)
        greys = np.convolve(np.bincount(self.levels.ravel(), minlength=256), np.ones(5, dtype=int), "same")
        return bool(greys.max() < _GROUND * _CELLS and min(rising, falling) >= _EDGES_EACH_WAY)


class NearIndex:
    """Hashes among which near ones are looked for, numbered from 0 in the order of their coming."""

    def __init__(self, hashes: Iterable[PerceptualHash] = ()) -> None:
        import numpy as np

        self._exact: dict[bytes, int] = {}
        self._count = 0
        self._edges = np.zeros((16, 4 * SIDE * SIDE // 64), dtype=np.uint64)
        self._levels = np.zeros((16, SIDE + 1, SIDE + 1), dtype=np.uint8)
        self._blocks = np.zeros((16, (SIDE // _BLOCK) ** 2), dtype=np.int16)
        self._corners = np.zeros((16, _CORNERS), dtype=np.int16)
        self._photographs = np.zeros(16, dtype=bool)
        self._counts = np.zeros(16, dtype=np.int32)  # of edges
        for image_hash in hashes:
            self.add(image_hash)

    def __len__(self) -> int:
        return self._count

    def add(self, image_hash: PerceptualHash) -> int:
        """Take a hash in; its number."""
        import numpy as np

        number = self._count
        if number == len(self._edges):
            for name in ("_edges", "_levels", "_blocks", "_corners", "_photographs", "_counts"):
                rows = getattr(self, name)
                setattr(self, name, np.concatenate([rows, np.zeros_like(rows)]))
        self._exact.setdefault(image_hash.digest, number)
        self._edges[number], self._levels[number] = image_hash.edges, image_hash.levels
        self._blocks[number], self._corners[number] = _blocks(image_hash), _corners(image_hash)
        self._photographs[number], self._counts[number] = image_hash.photographic, image_hash.edge_count
        self._count += 1
        return number

    def near(self, image_hash: PerceptualHash) -> Iterator[int]:
        """The numbers of the hashes that are near this one, the first that came first."""
        import numpy as np

        if image_hash.edge_count < _FEWEST or not self._count:
            if image_hash.digest in self._exact:
                yield self._exact[image_hash.digest]
            return
        # Cheap conditions that follow from those below: a cell differs at least as much as the mean of its block, and
        # what two pictures have in common is no more than the one with fewer edges has.
        counts, blocks = self._counts[: self._count], self._blocks[: self._count]
        fewer, more = np.minimum(counts, image_hash.edge_count), np.maximum(counts, image_hash.edge_count)
        candidates = np.flatnonzero((counts >= _FEWEST) & (fewer >= _COMMON_EDGES * more))
        candidates = candidates[np.abs(blocks[candidates] - _blocks(image_hash)).max(axis=1, initial=0) <= _WIDE + 1]
        edges = self._edges[candidates]
        half = edges.shape[1] // 2
        common = np.bitwise_count(edges & image_hash.edges).sum(axis=1, dtype=np.int64)
        either = (edges[:, :half] | edges[:, half:]) | (image_hash.edges[:half] | image_hash.edges[half:])
        near_edges = common >= _COMMON_EDGES * np.bitwise_count(either).sum(axis=1, dtype=np.int64)
        candidates = candidates[near_edges]
        photographs = self._photographs[candidates] & image_hash.photographic
        apart = np.abs(self._levels[candidates] - image_hash.levels).max(axis=(1, 2), initial=0)
        colours = np.abs(self._corners[candidates] - _corners(image_hash)).max(axis=1, initial=0)
        wide, narrow = apart <= _WIDE, (apart <= _NARROW) & (colours <= _NARROW)
        yield from candidates[np.where(photographs, wide, narrow)].tolist()


def _blocks(image_hash: PerceptualHash) -> np.ndarray:
    import numpy as np

    inner = image_hash.levels[:SIDE, :SIDE].reshape(SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK)
    return np.rint(inner.mean(axis=(1, 3))).astype(np.int16).ravel()


def _corners(image_hash: PerceptualHash) -> np.ndarray:
    import numpy as np

    return np.frombuffer(image_hash.corners, dtype=np.uint8).astype(np.int16)
