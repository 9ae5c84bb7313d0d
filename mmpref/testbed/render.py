"""Scenes to pictures: 48 x 48 RGB, one thing a quadrant, pixel noise over everything."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from mmpref.testbed.world import PLACES, Scene, stream

SIDE = 48
_TILE = 24
_FINE = 3  # samples a pixel and axis: soft edges
_GROUND = np.array((88.0, 88.0, 88.0))
_PAINT = {
    "red": (225, 45, 40),
    "green": (40, 185, 60),
    "blue": (55, 85, 235),
    "yellow": (235, 215, 45),
    "purple": (175, 55, 200),
    "white": (245, 245, 245),
}
_Grid = np.ndarray
_INSIDE: dict[str, Callable[[_Grid, _Grid], _Grid]] = {
    "circle": lambda u, v: u * u + v * v < 0.92,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.85,
    "triangle": lambda u, v: (v < 0.8) & (np.abs(u) < 0.58 * (v + 1.0)),
    "star": lambda u, v: np.hypot(u, v) < 0.70 + 0.30 * np.cos(5 * np.arctan2(u, -v)),
    "heart": lambda u, v: (1.44 * u * u + (1.2 * v + 0.1) ** 2 - 1) ** 3 < -1.44 * u * u * (1.2 * v + 0.1) ** 3,
    "diamond": lambda u, v: 1.45 * np.abs(u) + np.abs(v) < 1.05,
    "ring": lambda u, v: (u * u + v * v < 1.0) & (u * u + v * v > 0.34),
    "moon": lambda u, v: (u * u + v * v < 1.0) & ((u - 0.55) ** 2 + v * v > 0.62),
}
_AXIS = (np.arange(_TILE * _FINE) + 0.5) / _FINE


def pixels(scene: Scene) -> np.ndarray:
    """Draw a scene: uint8 array of shape (48, 48, 3)."""
    rng = stream(scene.split, scene.index, 1)
    canvas = np.broadcast_to(_GROUND, (SIDE, SIDE, 3)).copy()
    for thing in scene.things:
        radius = rng.uniform(7.0, 9.5)
        x, y = 12.0 + rng.uniform(-1.0, 1.0, size=2) * (11.0 - radius)
        u, v = (_AXIS - x)[None, :] / radius, (_AXIS - y)[:, None] / radius
        cover = np.asarray(_INSIDE[thing.shape](u, v), dtype=np.float64)
        cover = cover.reshape(_TILE, _FINE, _TILE, _FINE).mean(axis=(1, 3))[..., None]
        row, column = divmod(PLACES.index(thing.place), 2)
        tile = canvas[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]
        tile += cover * (np.array(_PAINT[thing.colour]) - tile)
    canvas += scene.noise * rng.standard_normal(canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def image(scene: Scene) -> Image.Image:
    """Draw a scene as a PIL image."""
    return Image.fromarray(pixels(scene))


@lru_cache(maxsize=4096)
def png(scene: Scene) -> bytes:
    """Draw a scene as PNG bytes. Stored, not compressed: noise does not shrink, and no zlib build changes the bytes.

    Kept in memory (7 KB each), as a source is read twice: once to check it, once to work on it.
    """
    buffer = io.BytesIO()
    image(scene).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def cell(scene: Scene) -> dict[str, object]:
    """Return the image as a table cell in the form that the ``datasets`` Image feature stores."""
    return {"bytes": png(scene), "path": None}
