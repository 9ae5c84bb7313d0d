"""Pixels as the 8-bit values that an image has, while they travel between processes: a quarter of the bytes.

What an image processor makes of them at last, rescaling and normalising, is a table of 256 values for each channel,
worked out by its own operations. They are left out here, and the table is sent along: the same pixel values, to the
last bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mmpref.vlm.pixel_arithmetic import is_plain, replaced


@dataclass(frozen=True)
class EightBit:
    """Pixel values, and what they stand for.

    Args:
        values: uint8 [..., C, H, W].
        table: float32 [C, 256].
    """

    values: np.ndarray
    table: np.ndarray

    def floats(self) -> np.ndarray:
        """What they stand for, float32 [..., C, H, W]."""
        made = np.empty(self.values.shape, dtype=np.float32)
        shape = (-1, *self.values.shape[-3:])
        for values, tile in zip(self.values.reshape(shape), made.reshape(shape), strict=True):
            for table, channel, target in zip(self.table, values, tile, strict=True):
                table.take(channel, out=target, mode="clip")  # "raise" would make a copy first; all are in the table
        return made


@dataclass(frozen=True)
class _Tile:
    """An array on which an operation was left out, and what these would have been.

    Args:
        pixels: uint8 [C, H, W].
        operations: each takes such an array.
    """

    pixels: np.ndarray
    operations: tuple[Callable[[np.ndarray], np.ndarray], ...]
    settings: tuple[Any, ...]


class Kept:
    """What an image processor has left out."""

    def __init__(self) -> None:
        self._tiles: list[_Tile] = []

    def rescale(self, original: Any, image: Any, scale: float, **settings: Any) -> Any:
        """In place of the operation of this name."""
        if settings or not is_plain(image):
            return original(image, scale, **settings)
        self._tiles.append(_Tile(image, (lambda values: original(values, scale),), (scale,)))
        return image

    def normalize(self, original: Any, image: Any, mean: Any, std: Any, **settings: Any) -> Any:
        """In place of the operation of this name."""
        last = self._tiles[-1] if self._tiles else None
        if settings or last is None or image is not last.pixels:
            return original(image, mean, std, **settings)
        operations = (*last.operations, lambda values: original(values, mean, std))
        self._tiles[-1] = replace(last, operations=operations, settings=(*last.settings, mean, std))
        return image

    def pixels(self, prepared: Sequence[Mapping[str, torch.Tensor]]) -> dict[int, EightBit] | None:
        """The pixel values among what a processor prepared, by the `id` of each tensor; none where nothing was left
        out. None where they are not, one after the other, the arrays on which operations were left out: filled up to
        the size of others, say, or put together in another order."""
        if not self._tiles:
            return {}
        found: dict[int, EightBit] = {}
        first = self._tiles[0]
        for values in (inputs["pixel_values"] for inputs in prepared):
            made = values.numpy()
            if made.dtype != np.uint8 or made.size != sum(tile.pixels.size for tile in self._tiles):
                return None
            if any(
                tile.settings != first.settings or tile.pixels.shape != made.shape[-3:] for tile in self._tiles
            ) or any(
                not np.array_equal(got, tile.pixels)
                for got, tile in zip(made.reshape(-1, *made.shape[-3:]), self._tiles, strict=True)
            ):
                return None
            found[id(values)] = EightBit(made, _table(first))
        return found


def _table(tile: _Tile) -> np.ndarray:
    """What the operations make of each value in each channel, float32 [C, 256]."""
    channels = len(tile.pixels)
    values = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (channels, 16, 16)).copy()
    for operation in tile.operations:
        values = operation(values)
    return np.ascontiguousarray(values.reshape(channels, 256), dtype=np.float32)


@contextlib.contextmanager
def eight_bit(images: Any) -> Iterator[Kept]:
    """Within it an image processor leaves rescaling and normalising of 8-bit pixels out.

    Args:
        images: a processor's ``image_processor``; one that does these in its own way goes on doing so.
    """
    kept = Kept()
    with replaced(images, {"rescale": kept.rescale, "normalize": kept.normalize}):
        yield kept
