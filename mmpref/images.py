"""Decoding of untrusted images: bounded in pixels, errors that name the image."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.errors import ImageError, reason_of
from mmpref.types import ImageData

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64_000_000
"""Images of more pixels than this are refused before they are decoded (decompression bombs)."""


def decode(image: ImageData, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to an RGB image.

    Raises:
        ImageError: empty, corrupt or truncated bytes, a side of zero, or more than ``max_pixels`` pixels.
    """
    from PIL import Image, ImageOps

    where = image.name or "an image"
    if not image.content:
        raise ImageError(f"{where} is empty (0 bytes).")
    try:
        with warnings.catch_warnings():
            # Our own bound below is the stricter one; Pillow's warning would only repeat it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image.content)) as opened:
                width, height = opened.size
                if width * height == 0:
                    raise ImageError(f"{where} has a side of zero pixels ({width} x {height}).")
                if width * height > max_pixels:
                    raise ImageError(f"{where} has {width} x {height} pixels; at most {max_pixels} are decoded.")
                upright = ImageOps.exif_transpose(opened)
                return upright.convert("RGB")
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers raise whatever broken bytes lead them to.
        raise ImageError(f"{where} cannot be decoded: {reason_of(error)}.") from error


def read_under(root: Path, relative: str) -> ImageData:
    """Read an image file that must lie under ``root``, links resolved.

    Raises:
        ImageError: the path leaves the root, or there is no such file.
    """
    root = root.resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise ImageError(f"image path {relative!r} leaves its root {root}.")
    if not path.is_file():
        raise ImageError(f"no image file {relative!r} under {root}.")
    # The name goes along into published rows: it says nothing of the folders above the root.
    plain = not Path(relative).is_absolute() and ".." not in Path(relative).parts
    return ImageData(path.read_bytes(), relative if plain else path.relative_to(root).as_posix())
