"""An image cell to encoded bytes: bytes, base64, data URIs, and paths and file URIs under image roots (folders and ZIP
archives, COCO names of 2014 and 2017). Nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from mmpref.errors import ImageError, InputError, brief, reason_of
from mmpref.images import Look, look_at, read_under
from mmpref.tables.cells import IMAGE_BYTES, is_null
from mmpref.types import ImageData

MAX_ENCODED = 100_000_000
"""Characters of base64 that are decoded."""
MAX_MEMBER = 256_000_000
"""A member of an archive that unpacks to more bytes than this is no image."""
MAX_PATH = 4096
SHORTENED = "image_paths_shortened"
"""A row's note: its image lies where only the end of the path leads, the first folders being another machine's."""
_PLACE = ("path", "url", "image_url", "image", "file_name", "source")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
_IMAGE_IN_BASE64 = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[0-3]|SUkq|TU0AK")
_SHORTEST, _NO_PATH = 40, 1024
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_LONGEST_ENDING = 4
_UNREADABLE = (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_COCO = re.compile(r"(?:^|[/_])(\d{12})\.(?:jpg|jpeg|png)$", re.IGNORECASE)


class RemoteImageError(ImageError):
    """An image is named by the address of another machine."""

    reason = "image-url"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the image {brief(address)!r} is on another machine, and images are not fetched.",
            "Download them, and name their folder with --image-root.",
        )
        self.address = address


class MissingImageError(ImageError):
    """No root has an image of that name.

    Args:
        name: the path as the row has it.
    """

    reason = "missing-image"

    def __init__(self, name: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.name = name


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
    first folders being another machine's.

    Raises:
        ImageError: a cell that is no image, or cannot be read; its ``reason``, where it has one, says why.
    """
    images = tuple(read_image(cell, roots) for cell in cells)
    paths = [path for cell in cells if (path := path_in_cell(cell)) is not None]
    return images, (SHORTENED,) if any(not roots.has(path) for path in paths) else ()


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


def coco_id(name: str) -> int | None:
    """The COCO id in an image's name, the same for 2014 and 2017; None where it is no COCO name."""
    match = _COCO.search(name)
    return int(match[1]) if match else None


class ImageRoots:
    """Folders and ``.zip`` files that image paths of rows are relative to.

    A path that no root has whole is tried without its first folders (``./data/coco/x.jpg``: ``coco/x.jpg``, ``x.jpg``),
    since published sets carry the folders of their authors' machines. COCO names find each other by their id.

    Raises:
        InputError: a root that is neither.
    """

    def __init__(self, roots: Sequence[str | Path]) -> None:
        self._roots = [_open(Path(root).expanduser()) for root in roots]

    @cached_property
    def _coco(self) -> dict[int, tuple[_Root, str]]:
        """Where each COCO image is, by its integer id: train2017 holds most of val2014, under other names."""
        places: dict[int, tuple[_Root, str]] = {}
        for root in self._roots:
            for name in root.names():
                if match := _COCO.search(name):
                    places.setdefault(int(match[1]), (root, name))
        return places

    def read(self, name: str) -> ImageData:
        """The image of that name under the first root that has it.

        Raises:
            MissingImageError: no root has it.
            ImageError: the path leaves every root, or cannot be read.
        """
        if not self._roots:
            raise ImageError(f"image {brief(name)!r} is a path and no --image-root was given.")
        if len(name) > MAX_PATH:
            raise ImageError(f"image path {brief(name)!r} is longer than any path.")
        try:
            if place := self._place(name):
                root, path = place
                return root.read(path)
            out = any(root.leads_out(form) for form in _forms(name) for root in self._roots)
        except _UNREADABLE as error:
            raise ImageError(f"image path {brief(name)!r} cannot be read: {_reason(error)}.") from error
        if out:
            raise ImageError(f"image path {brief(name)!r} leaves its root {self._roots[0]}.")
        roots = ", ".join(map(str, self._roots))
        raise MissingImageError(
            name,
            f"no image file {brief(name)!r} under {brief(roots, 600)}.",
            "Name the folder that paths are relative to with --image-root.",
        )

    def _place(self, name: str) -> tuple[_Root, str] | None:
        """Under which root a path is found, and by what name."""
        for candidate in _candidates(name):
            for root in self._roots:
                if root.has(candidate):
                    return root, candidate
        match = _COCO.search(name)
        return self._coco.get(int(match[1])) if match else None

    def finds(self, name: str) -> bool:
        """Whether `read` finds a file of that name; what it holds is not looked at."""
        try:
            return len(name) <= MAX_PATH and self._place(name) is not None
        except _UNREADABLE:
            return False

    def has(self, name: str) -> bool:
        """Whether a root has an image of that very name: no folder left out, no other COCO split."""
        try:
            return any(root.has(form) for form in _forms(name) for root in self._roots)
        except _UNREADABLE:
            return False

    def of_coco(self, name: str) -> ImageData | None:
        """The COCO image of the id in that name, whichever split's name it has here; None where there is none.

        Raises:
            ImageError: it cannot be read.
        """
        if not (match := _COCO.search(name)) or not (place := self._coco.get(int(match[1]))):
            return None
        root, path = place
        return root.read(path)


def _reason(error: Exception) -> str:
    # Python repeats the whole path in the text of these.
    return (isinstance(error, OSError) and error.strerror) or reason_of(error)


def _forms(name: str) -> list[str]:
    """A path as it is, as Windows writes it, with letters composed or taken apart (macOS), and with its ending in other
    letters (``.JPG``)."""
    plain = PureWindowsPath(name).as_posix() if "\\" in name else name
    drive = PureWindowsPath(name).drive if "\\" in name else ""
    plain = plain[len(drive) :]
    forms = dict.fromkeys([name, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))])
    stem, dot, ending = plain.rpartition(".")
    if dot and len(ending) <= _LONGEST_ENDING and ending.isalpha():
        forms |= dict.fromkeys([f"{stem}.{ending.lower()}", f"{stem}.{ending.upper()}"])
    return list(forms)


def _candidates(name: str) -> Iterator[str]:
    """The path as it is, then without its first folders. One that climbs is taken as it is or not at all."""
    forms = _forms(name)
    yield from forms
    for form in forms[1:] if "\\" in name else forms:
        parts = PurePosixPath(form).parts
        if ".." not in parts:
            for start in range(1, len(parts)):
                yield "/".join(parts[start:])


class _Root(Protocol):
    def has(self, name: str) -> bool: ...
    def leads_out(self, name: str) -> bool: ...
    def read(self, name: str) -> ImageData: ...
    def names(self) -> Iterator[str]:
        """All files, in a fixed order."""
        ...


def _open(path: Path) -> _Root:
    if path.is_dir():
        return _Folder(path.resolve())
    # The Hub's cache links names to files without a suffix.
    if path.suffix.lower() == ".zip" and path.is_file():
        return _Archive(path)
    raise InputError(f"The image root {path} is not a folder or a .zip file.", "Check --image-root.")


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def _inside(self, name: str) -> bool:
        return (self._path / name).resolve().is_relative_to(self._path)

    def has(self, name: str) -> bool:
        return self._inside(name) and (self._path / name).is_file()

    def leads_out(self, name: str) -> bool:
        climbs = ".." in PurePosixPath(name).parts
        return not self._inside(name) and (climbs or (self._path / name).is_file())

    def read(self, name: str) -> ImageData:
        return read_under(self._path, name)

    def names(self) -> Iterator[str]:
        for folder, inner, names in os.walk(self._path):
            inner.sort()
            for name in sorted(names):
                yield os.path.relpath(os.path.join(folder, name), self._path)


class _Archive:
    """Members are read into memory one at a time and never unpacked to the disk, so that no name in it can place a
    file. Where everything lies in one folder, paths may leave that folder out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"The image root {path} cannot be read: {reason_of(error)}.", "Check the file.") from error
        self._members = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}
        tops = {name.partition("/")[0] if "/" in name else "" for name in self._members}
        self._top = f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""

    def __str__(self) -> str:
        return str(self._path)

    def _member(self, name: str) -> str | None:
        plain = name.removeprefix("./")
        return next((path for path in (plain, self._top + plain) if path in self._members), None)

    def has(self, name: str) -> bool:
        return self._member(name) is not None

    def leads_out(self, name: str) -> bool:
        return ".." in PurePosixPath(name).parts

    def read(self, name: str) -> ImageData:
        member = self._members[self._member(name) or name]
        if member.file_size > MAX_MEMBER:
            raise ImageError(f"{member.filename} in {self._path.name} unpacks to {member.file_size} bytes.")
        with self._zip.open(member) as opened:
            content = opened.read(MAX_MEMBER + 1)
        if len(content) > MAX_MEMBER:
            raise ImageError(f"{member.filename} in {self._path.name} unpacks to more than it says.")
        return ImageData(content, PurePosixPath(member.filename).name)

    def names(self) -> Iterator[str]:
        yield from sorted(self._members)
