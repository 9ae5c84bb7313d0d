"""Image cells of rows: bytes, base64 and data URIs, paths and file URIs under image roots. Nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mmpref.errors import ImageError, InputError, brief
from mmpref.images import decode, decode_noting
from mmpref.registry import resolve_path
from mmpref.tables.cells import is_null, records, unpacked, value_of
from mmpref.tables.image_roots import ImageRoots
from mmpref.types import ImageData

if TYPE_CHECKING:
    from PIL import Image

IMAGES = (
    "images",
    "image",
    "image_path",
    "img_path",
    "image_paths",
    "img",
    "image_bytes",
    "image_base64",
    "image_b64",
    "image_file",
    "image_name",
    "file_name",
    "image_url",
    "image_urls",
    "jpg",
    "jpeg",
    "png",
    "webp",
)
"""Columns that may hold a row's images; the first that holds something does."""
_LOOKS_LIKE_IMAGE = re.compile(r"(image|img|photo|picture|pixel)s?(_|$)|.*_(image|img)s?(_|\d|$)", re.IGNORECASE)
_ABOUT_IMAGES = re.compile(r".*_(ids?|width|height|size|count|num|caption|source|license|sha256|md5|token)s?$")
_CONTENT, _PLACE = ("bytes", "base64", "b64", "data"), ("path", "url", "image_url", "image", "file_name", "source")

MAX_ENCODED = 100_000_000
"""Characters of base64 that are decoded."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
_IMAGE_IN_BASE64 = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[0-3]|SUkq|TU0AK")
_SHORTEST, _NO_PATH = 40, 1024
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")

SHORTENED = "image_paths_shortened"
"""A row's note: its image lies where only the end of the path leads, the first folders being another machine's."""


class RemoteImageError(ImageError):
    """An image is named by the address of another machine."""

    reason = "image-url"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the image {brief(address)!r} is on another machine, and images are not fetched.",
            "Download them, and name their folder with --image-root.",
        )
        self.address = address


def image_cells(row: Mapping[str, Any]) -> list[Any]:
    """The image cells of a row, of whichever image column holds something; cells that say nothing are left out."""
    for name in IMAGES:
        value = records(unpacked(row.get(name)))
        cells = [cell for cell in (value if isinstance(value, list) else [value]) if not is_no_image(cell)]
        if cells:
            return cells
    return []


def unread_images(row: Mapping[str, Any]) -> list[str]:
    """Columns that look as if they held images and are not read."""
    return [
        name
        for name, value in row.items()
        if name not in IMAGES
        and _LOOKS_LIKE_IMAGE.match(name)
        and not _ABOUT_IMAGES.match(name)
        and isinstance(value, str | bytes | list | Mapping)
        and not is_no_image(value)
    ]


def is_no_image(cell: Any) -> bool:
    """Whether a cell that would hold an image holds nothing: None, no text, an empty list, a mapping of these."""
    if isinstance(cell, Mapping):
        return not any(isinstance(cell.get(name), bytes) for name in _CONTENT) and all(map(is_no_image, cell.values()))
    return is_null(cell) or (isinstance(cell, list) and all(map(is_no_image, cell)))


def read_images(cells: Sequence[Any], roots: ImageRoots) -> tuple[tuple[ImageData, ...], tuple[str, ...]]:
    """The images of a row, each of which can be decoded; and what was made of them, each once.

    That is `SHORTENED` where one was found by the end of its path only, the first folders being another machine's, and
    ``16-bit_images`` and the like for pixels that had to be converted (`mmpref.images`).

    Raises:
        ImageError: a cell that is no image, cannot be read or decoded; its ``reason``, where it has one, says why.
    """
    images = tuple(read_image(cell, roots) for cell in cells)
    converted = sorted({kind for image in images if (kind := decode_noting(image)[1])})
    paths = [path for cell in cells if (path := _path_of(cell)) is not None]
    shortened = [SHORTENED] if any(not roots.has(path) for path in paths) else []
    return images, (*shortened, *(f"{kind}_images" for kind in converted))


def read_image(cell: Any, roots: ImageRoots) -> ImageData:
    """The encoded image of a cell: bytes, base64, a data URI, a path or file URI under the roots, or a mapping with one
    of these (``{"bytes", "path"}``, OpenAI's ``{"url"}``, Anthropic's ``{"type": "base64", "data"}``).

    Raises:
        ImageError: it is none of these, or the path cannot be read.
    """
    if isinstance(cell, Mapping):
        content = next((cell[name] for name in _CONTENT if not is_null(cell.get(name))), None)
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
    path = _path_of(cell)
    if path is not None:
        return roots.read(path)
    if image := roots.of_coco(cell):  # a COCO id is one image, wherever it lies
        return image
    raise RemoteImageError(cell)


def is_embedded(text: str) -> bool:
    """Whether a text is an image itself, base64 or a data URI, and no path."""
    return text[:5].lower() == "data:" or _is_base64(text)


def _path_of(cell: Any) -> str | None:
    """The path that a cell names; None where it holds the image itself, or the address of another machine."""
    if isinstance(cell, Mapping):
        if any(not is_null(cell.get(name)) for name in _CONTENT):
            return None
        place = next((cell[name] for name in _PLACE if not is_null(cell.get(name))), None)
        return _path_of(place)
    if not isinstance(cell, str) or is_embedded(cell):
        return None
    if not _SCHEME.match(cell):
        return cell
    try:
        parts = urlsplit(cell)
    except ValueError:
        return None
    return unquote(parts.path) if parts.scheme.lower() == "file" and parts.netloc in ("", "localhost") else None


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


def image_cell(
    row: Mapping[str, Any], where: str, root: Path | None, column: str = "image", folder: str | None = None
) -> ImageData:
    """The one encoded image of a column, as `read_image` reads it. One that cannot be read is empty, named by the
    reason, and cannot be decoded (`seen`): its sample will count as missing.

    Args:
        root: the folder of a local table.
        folder: of the images, where it is not the table's.

    Raises:
        InputError: there is no such column, it holds several images, or there is no such folder.
    """
    cell = row[column] if column in row else value_of(row, column, where)
    if isinstance(cell, list):
        if len(cell) > 1:
            raise InputError(f"{where}, column {column} holds {len(cell)} images; this benchmark asks about one.")
        cell = cell[0] if cell else None
    return cell_image(cell, where, None if folder is None and root is None else _roots_at(folder, root))


def cell_image(cell: Any, where: str, roots: ImageRoots | None) -> ImageData:
    """The image of a cell, as `image_cell` gives that of a column.

    Args:
        roots: where images that are named by a path lie; None where there is no such place.
    """
    try:
        if is_no_image(cell):
            raise ImageError("no image")
        path = _path_of(cell)
        if path is not None and roots is None:
            raise ImageError(f"a path, and the table has no folder: {brief(path)!r}")
        image = read_image(cell, roots or ImageRoots([]))
        if not image.content:
            raise ImageError("a file of 0 bytes")
    except RemoteImageError as error:
        return ImageData(b"", f"{where} (an address, which is not fetched: {brief(error.address)!r})")
    except ImageError as error:
        return ImageData(b"", f"{where} ({error.message[:600].rstrip('.')})")
    return ImageData(image.content, where)


@functools.lru_cache(maxsize=16)
def _roots_at(folder: str | None, root: Path | None) -> ImageRoots:
    """Where a table's images are; once for all of its rows, since the COCO names in a folder are listed only once."""
    if folder is None:
        return ImageRoots([root] if root else [])
    path = Path(resolve_path(folder)).expanduser()
    if not path.exists():
        raise InputError(f"There is no folder of images {folder}.", "Check the benchmark's setting images.")
    return ImageRoots([path])


def image_name(row: Mapping[str, Any], column: str = "image") -> str | None:
    """What a row calls its image: the file's name without its suffix; None where the cell is no path."""
    value = row.get(column)
    if not isinstance(value, str) or is_null(value) or is_embedded(value):
        return None
    return Path(value.replace("\\", "/")).stem


def decoded_image(image: ImageData) -> Image.Image:
    """A sample's image, decoded.

    Raises:
        ImageError: it cannot be read, or decoded.
    """
    if not image.content:
        raise ImageError(f"{image.name}.")
    return decode(image)


def image_key(image: ImageData | None, number: int) -> str:
    """Names the image of a row, so that rows about one image are resampled together; where there is none, the row."""
    content = image.content if image else b""
    return hashlib.sha256(content).hexdigest()[:16] if content else str(number)
