"""Decoding of untrusted images to 8-bit RGB: bounded in pixels, errors that name the image.

Pillow's own conversion clips 16-bit and floating-point pixels at 255 and drops transparency, so that scans come out
white, depth maps black and drawings on a clear ground black. Here

* integers of more than 8 bits are divided by what the smallest of 8, 10, 12, 14 and 16 bits that holds the picture's
  greatest value can hold (cameras and scanners keep 12 bits in 16); beyond 16 bits, or below zero, they are scaled by
  the picture's own range;
* floating-point pixels from 0 to 1 are multiplied by 255, others scaled by the picture's own range;
* grey TIFFs in which zero is white (radiographs) are turned round, as Pillow does with those of 8 bits only;
* what is transparent is laid on white.

Of several frames or pages the first counts, and the camera's orientation is applied.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.errors import ImageError, reason_of
from mmpref.types import ImageData
from mmpref.workers import WorkerPool

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_PIXELS = 64_000_000
"""Images of more pixels than this are refused before they are decoded (decompression bombs)."""
SIXTEEN_BIT, FLOAT, TRANSPARENT = "16-bit", "float", "transparent"
"""How an image was stored whose pixels had to be converted to 8-bit RGB."""
DEADLY = "decoding it ends the process that does it."
"""Said of an image that another process did not survive."""
_DEPTHS = (8, 10, 12, 14, 16)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF files, and a value of it


def decode(image: ImageData, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to an 8-bit RGB image.

    Raises:
        ImageError: empty, corrupt or truncated bytes, a side of zero, more than ``max_pixels`` pixels, or pixels that
            show nothing: all transparent, no numbers, or of no range.
    """
    return decode_noting(image, max_pixels)[0]


def decode_noting(image: ImageData, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str | None]:
    """Decode as `decode` does, and say what was converted: `SIXTEEN_BIT`, `FLOAT`, `TRANSPARENT`, or None where every
    pixel is as it was stored."""
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
                negative = getattr(opened, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
                return _to_rgb(ImageOps.exif_transpose(opened), where, negative)
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers raise whatever broken bytes lead them to.
        if re.fullmatch(rb"ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", image.content[4:12]):
            raise ImageError(f"{where} is a HEIC image, which is not read.", "Save it as JPEG or PNG.") from error
        raise ImageError(f"{where} cannot be decoded: {reason_of(error)}.") from error


@dataclass(frozen=True)
class Look:
    """What decoding an image tells of it.

    Args:
        size: width and height in pixels.
        converted: as `decode_noting` has it.
    """

    size: tuple[int, int]
    converted: str | None


def look_at(images: tuple[ImageData, ...]) -> tuple[Look, ...]:
    """Decode images, and keep only what that tells.

    Raises:
        ImageError: as `decode`, of the first that cannot be decoded.
    """
    decoded = (decode_noting(image) for image in images)
    return tuple(Look(picture.size, converted) for picture, converted in decoded)


Looks = WorkerPool[tuple[ImageData, ...], tuple[Look, ...]]
"""`look_at`, here or ahead of time in other processes."""


def open_looks(workers: int) -> Looks:
    """Beside so many processes that preprocess images, which takes several times as long."""
    return WorkerPool(look_at, -(-workers // 4))


def _to_rgb(picture: Image.Image, where: str, negative: bool) -> tuple[Image.Image, str | None]:
    from PIL import ImageOps

    if picture.mode == "F" or picture.mode.startswith("I"):
        grey = _scaled(picture, where)
        return ImageOps.invert(grey) if negative else grey, FLOAT if picture.mode == "F" else SIXTEEN_BIT
    if picture.has_transparency_data:
        return _on_white(picture, where)
    return picture.convert("RGB"), None


def _on_white(picture: Image.Image, where: str) -> tuple[Image.Image, str | None]:
    from PIL import Image

    clear = picture.convert("RGBA")
    if clear.getchannel("A").getextrema()[0] == 255:
        return picture.convert("RGB"), None
    white = Image.new("RGBA", clear.size, "white")
    laid = Image.alpha_composite(white, clear).convert("RGB")
    if laid.getextrema() == ((255, 255),) * 3:
        raise ImageError(f"{where} shows nothing: it is transparent, and what is not is white.")
    return laid, TRANSPARENT


def _scaled(picture: Image.Image, where: str) -> Image.Image:
    """One channel of integers or floats, of any range, as 8-bit RGB."""
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    # A 16-bit PNG may name one value as its transparent ground.
    ground = picture.info.get("transparency")
    shown = values if not isinstance(ground, int) else values[values != ground]
    if not shown.size:
        raise ImageError(f"{where} shows nothing: it is all transparent.")
    low, high = _range(shown, where)
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255
    grey = np.rint(scaled).astype(np.uint8)
    if shown is not values:
        grey[values == ground] = 255
    return Image.fromarray(grey).convert("RGB")


def _range(values: np.ndarray, where: str) -> tuple[float, float]:
    """The values that become black and white."""
    import numpy as np

    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"{where} has pixels that are no numbers (NaN or infinite).")
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        if values.dtype.kind == "f" and high <= 1:
            return 0.0, 1.0
        if values.dtype.kind != "f" and high < 1 << _DEPTHS[-1]:
            return 0.0, float((1 << next(depth for depth in _DEPTHS if high < 1 << depth)) - 1)
    if low == high:
        raise ImageError(f"{where} shows nothing: every pixel is {low:g}, and no range is known.")
    return low, high


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
