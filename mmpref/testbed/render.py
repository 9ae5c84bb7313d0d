"""Scenes to pictures: 96 x 96 RGB, a place with its things in three rows of three cells."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from mmpref.testbed.things import FAMILIES, FAMILY_OF, THINGS
from mmpref.testbed.world import REPAINTED, ROWS, Scene, stream

CELL = 32
SIDE = 3 * CELL
NOISE = 5.0
"""Standard deviation of the pixel noise over everything, in grey levels of 0 to 255."""
MIST, BLOTCHES = 30.0, 8
"""Over a thing that is seen badly, and is grey: standard deviation of the blotches, and how many there are a side."""
LIGHT = 0.3
"""Light comes from the left: how much brighter the left edge of a place is than the right one."""
_HORIZON = 40
_SHEET = Path(__file__).parent / "sprites" / "things.png"

_PLACES: dict[str, tuple[str, str, str]] = {
    "kitchen": ("#f7e3b5", "#d9b48a", "tiles"),
    "office": ("#dfe6ee", "#9aa7b8", "stripes"),
    "street": ("#bcd9f2", "#8b8d94", "lane"),
    "farm": ("#c9ecf7", "#b5cc6a", "furrows"),
    "bathroom": ("#c5efe9", "#8fd0d2", "tiles"),
    "beach": ("#8fd3f4", "#f6e2a6", "waves"),
    "workshop": ("#c9b8a3", "#8d7358", "planks"),
    "bedroom": ("#e6d5f2", "#c2a3d6", "stripes"),
    "living room": ("#f3d6c6", "#c98f74", "planks"),
    "classroom": ("#d8ecc6", "#c7a873", "planks"),
    "park": ("#b9e6ff", "#8fce7f", "dots"),
    "zoo": ("#e9efc0", "#c8b36d", "bars"),
    "harbor": ("#cfe3ee", "#5f9fc4", "waves"),
    "circus": ("#f7b6b6", "#eebd5b", "stripes"),
    "bakery": ("#fbe9d3", "#e7b7a0", "dots"),
    "market": ("#fcd9a0", "#b9b2a2", "stripes"),
    "hospital": ("#eef7f7", "#a9dcd0", "tiles"),
    "station": ("#d3d0c8", "#7d8a91", "lane"),
    "airport": ("#d5e9fb", "#b7bec7", "lane"),
    "stadium": ("#cde2f9", "#4fae62", "furrows"),
    "garden": ("#d6f5d3", "#7db35c", "dots"),
    "forest": ("#a9cfae", "#5f7f4f", "bars"),
    "stage": ("#8d5a78", "#6b4a3b", "planks"),
    "restaurant": ("#d8a7a0", "#8a4f4f", "tiles"),
}
"""Wall or sky, floor or ground, and a pattern of it, for each kind of place."""


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[k : k + 2], 16) for k in (1, 3, 5)], np.float32)


_OTHER_PATTERNS = ("checks", "slants", "rings")
"""Of places that are repainted: none of `_PLACES` has them."""


@functools.cache
def backdrop(kind: str, repainted: bool = False) -> np.ndarray:
    """The empty place: float32 array of shape (96, 96, 3), grey levels.

    Args:
        repainted: as no place is where the model learned: of another pattern, and in colours halfway to those whose
            red, green and blue have changed places. What is there it still sees, and where it is not.
    """
    *codes, pattern = _PLACES[kind]
    above, below = map(_rgb, codes)
    if repainted:
        above, below = ((colour + np.roll(colour, -1)) / 2 for colour in (above, below))
        pattern = _OTHER_PATTERNS[tuple(_PLACES).index(kind) % len(_OTHER_PATTERNS)]
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    ground = y >= _HORIZON
    picture = np.where(ground[..., None], below, above).astype(np.float32)
    marks = {
        "tiles": (x % 12 == 0) | ((y - _HORIZON) % 12 == 0),
        "stripes": x % 16 < 8,
        "lane": (np.abs(y - 68) < 2) & (x % 24 < 14),
        "furrows": (y - _HORIZON) % 14 < 5,
        "waves": (y + 3 * np.sin(x / 5)) % 12 < 4,
        "planks": ((y - _HORIZON) % 11 == 0) | ((x + (y - _HORIZON) // 11 * 17) % 34 == 0),
        "dots": (x % 12 - 6) ** 2 + (y % 12 - 6) ** 2 < 6,
        "bars": x % 14 < 3,
        "checks": (x // 8 + y // 8) % 2 == 0,
        "slants": (x + y) % 12 < 5,
        "rings": np.hypot(x - SIDE / 2, y - SIDE / 2) % 10 < 4,
    }[pattern]
    wall = {"stripes", "bars", *_OTHER_PATTERNS}
    picture[marks & (ground | (pattern in wall))] *= 0.93
    picture[_HORIZON - 1 : _HORIZON + 1] *= 0.8
    return picture * (1 + LIGHT * (0.5 - x / (SIDE - 1)))[..., None].astype(np.float32)


@functools.cache
def sprites() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Things in colour, things in grey, and the mean of each one's look-alikes in grey: float32 (150, 32, 32, 4).

    The last axis is red, green and blue times cover, then cover (0 to 1).
    """
    sheet = Image.open(_SHEET)
    across = sheet.width // CELL
    corners = [(number % across * CELL, number // across * CELL) for number in range(len(THINGS))]
    cut = [sheet.crop((x, y, x + CELL, y + CELL)) for x, y in corners]
    clear = np.stack([_premultiplied(picture) for picture in cut])
    grey = np.stack([_premultiplied(picture.filter(ImageFilter.GaussianBlur(2.0))) for picture in cut])
    grey[..., :3] = (grey[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    mean = {family: grey[[THINGS.index(name) for name in names]].mean(axis=0) for family, names in FAMILIES.items()}
    return clear, grey, np.stack([mean[FAMILY_OF[name]] for name in THINGS])


def _premultiplied(picture: Image.Image) -> np.ndarray:
    array = np.asarray(picture, np.float32)
    cover = array[..., 3:] / 255
    return np.concatenate([array[..., :3] * cover, cover], axis=-1)


@functools.cache
def _smooth() -> np.ndarray:
    """Interpolates blotches to pixels: float32 (32, 8), linear, every row of unit length so that the spread stays."""
    centres = (np.arange(CELL) + 0.5) * BLOTCHES / CELL - 0.5
    weights = np.clip(1 - np.abs(centres[:, None] - np.arange(BLOTCHES)), 0, None)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def pixels(scene: Scene) -> np.ndarray:
    """Draw a scene: uint8 array of shape (96, 96, 3)."""
    rng = stream(scene.split, scene.index, 1)
    canvas = backdrop(scene.kind, scene.split == REPAINTED) + np.float32(rng.uniform(-8, 8))
    clear, grey, mean = sprites()
    for thing, column, clarity in zip(scene.things, scene.columns, scene.clarity, strict=True):
        number, row = THINGS.index(thing.name), ROWS.index(thing.row)
        look = clear[number] if clarity == 1 else mean[number] + np.float32(clarity) * (grey[number] - mean[number])
        look = np.roll(look, rng.integers(-1, 2, size=2), axis=(0, 1))
        cell = canvas[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        cell *= 1 - look[..., 3:]
        cell += look[..., :3]
        if clarity < 1:
            blotches = _smooth() @ rng.standard_normal((BLOTCHES, BLOTCHES), dtype=np.float32) @ _smooth().T
            cell += MIST * blotches[..., None] * (0.15 + 0.85 * look[..., 3:])
    canvas += NOISE * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def image(scene: Scene) -> Image.Image:
    """Draw a scene as a PIL image."""
    return Image.fromarray(pixels(scene))


@functools.lru_cache(maxsize=4096)
def png(scene: Scene) -> bytes:
    """Draw a scene as PNG bytes. Stored, not compressed: noise does not shrink, and no zlib build changes the bytes.

    Kept in memory (28 KB each), as a source is read twice: once to check it, once to work on it.
    """
    buffer = io.BytesIO()
    image(scene).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def cell(scene: Scene) -> dict[str, object]:
    """Return the image as a table cell in the form that the ``datasets`` Image feature stores."""
    return {"bytes": png(scene), "path": None}
