"""An image cell to encoded bytes: bytes, base64, data URIs, and paths and file URIs under image roots
(`mmpref.tables.image_roots`). Nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from mmpref.errors import ImageError, brief
from mmpref.images import Look, look_at
from mmpref.tables.cells import IMAGE_BYTES, is_null
from mmpref.tables.image_roots import ImageRoots
from mmpref.types import ImageData

MAX_ENCODED = 100_000_000
"""Characters of base64 that are decoded."""
_PLACE = ("path", "url", "image_url", "image", "file_name", "source")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
_IMAGE_IN_BASE64 = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[0-3]|SUkq|TU0AK")
_SHORTEST, _NO_PATH = 40, 1024
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


class RemoteImageError(ImageError):
    """An image is named by the address of another machine."""

    reason = "image-url"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the image {brief(address)!r} is on another machine, and images are not fetched.",
            "Download them, and name their folder with --image-root.",
        )
        self.address = address


def read_images(cells: Sequence[Any], roots: ImageRoots) -> tuple[tuple[ImageData, ...], tuple[str, ...]]:
    """The images of a row, each of which can be decoded; and what was made of them, each once: as `find_images` and
    `conversions` have it.

    Raises:
        ImageError: a cell that is no image, cannot be read or decoded; its ``reason``, where it has one, says why.
    """
    images, notes = find_images(cells, roots)
    return images, (*notes, *conversions(look_at(images)))


def find_images(cells: Sequence[Any], roots: ImageRoots) -> tuple[tuple[ImageData, ...], tuple[str, ...]]:
    """The images of a row, none of them decoded; and `SHORTENED` where one was found by the end of its path only, the
    first folders being another machine's, `RESPELLED` where its name is written otherwise.

    Raises:
        ImageError: a cell that is no image, or cannot be read; its ``reason``, where it has one, says why.
    """
    images = tuple(read_image(cell, roots) for cell in cells)
    paths = [path for cell in cells if (path := path_in_cell(cell)) is not None]
    return images, tuple(dict.fromkeys(note for path in paths if (note := roots.note(path))))


def conversions(looks: Sequence[Look]) -> tuple[str, ...]:
    """``16-bit_images`` and the like, each once, for pixels that had to be converted (`mmpref.images`)."""
    return tuple(f"{kind}_images" for kind in sorted({look.converted for look in looks if look.converted}))


def read_image(cell: Any, roots: ImageRoots) -> ImageData:
    """The encoded image of a cell: bytes, base64, a data URI, a path or file URI under the roots, or a mapping with one
    of these (``{"bytes", "path"}``, OpenAI's ``{"url"}``, Anthropic's ``{"type": "base64", "data"}``).

    Raises:
        ImageError: it is none of these, or the path cannot be read.
    """
    if isinstance(cell, Mapping):
        content = next((cell[name] for name in IMAGE_BYTES if not is_null(cell.get(name))), None)
        if isinstance(content, str | bytes):
            return ImageData(content if isinstance(content, bytes) else _embedded(content), _basename(cell.get("path")))
        place = next((cell[name] for name in _PLACE if not is_null(cell.get(name))), None)
        if isinstance(place, Mapping) and not any(isinstance(value, Mapping) for value in place.values()):
            return read_image(place, roots)
        cell = place
    if isinstance(cell, bytes):
        return ImageData(cell)
    if not isinstance(cell, str):
        raise ImageError(f"an image cell of type {type(cell).__name__} is no image.")
    if is_embedded(cell):
        return ImageData(_embedded(cell))
    path = path_in_cell(cell)
    if path is not None:
        return roots.read(path)
    if image := roots.of_coco(cell):  # a COCO id is one image, wherever it lies
        return image
    raise RemoteImageError(cell)


def is_embedded(text: str) -> bool:
    """Whether a text is an image itself, base64 or a data URI, and no path."""
    return text[:5].lower() == "data:" or _is_base64(text)


def path_in_cell(cell: Any) -> str | None:
    """The path that a cell names; None where it holds the image itself, or the address of another machine."""
    if isinstance(cell, Mapping):
        if any(not is_null(cell.get(name)) for name in IMAGE_BYTES):
            return None
        place = next((cell[name] for name in _PLACE if not is_null(cell.get(name))), None)
        return path_in_cell(place)
    if not isinstance(cell, str) or is_embedded(cell):
        return None
    if not _SCHEME.match(cell):
        return cell
    try:
        parts = urlsplit(cell)
    except ValueError:
        return None
    return unquote(parts.path) if parts.scheme.lower() == "file" and parts.netloc in ("", "localhost") else None


def name_in_cell(cell: Any) -> str:
    """What a cell calls its image: the path that it names, or that stands beside its bytes; empty without one."""
    beside = cell.get("path") if isinstance(cell, Mapping) else None
    return beside if isinstance(beside, str) else path_in_cell(cell) or ""


def _basename(path: Any) -> str:
    """The last part of a path: no folder of the machine that made a set goes into what is made of it."""
    if not isinstance(path, str):
        return ""
    return PurePosixPath(PureWindowsPath(path).name if "\\" in path else path).name[:255]


def _is_base64(text: str) -> bool:
    if len(text) < _SHORTEST or not (_IMAGE_IN_BASE64.match(text) or len(text) > _NO_PATH):
        return False
    return bool(_BASE64.fullmatch(text))


def _embedded(text: str) -> bytes:
    """The bytes of base64, with or without a data URI's head.

    Raises:
        ImageError: it is none, or too long.
    """
    if len(text) > MAX_ENCODED:
        raise ImageError(f"an image of {len(text):,} characters of base64; at most {MAX_ENCODED:,} are decoded.")
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith("base64"):
            raise ImageError(f"a data URI that is not base64 ({brief(head, 40)!r}).")
        text = unquote(text) if "%" in text else text
    plain = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"{len(text):,} characters that are no base64 ({brief(text, 20)!r}): {error}.") from error
