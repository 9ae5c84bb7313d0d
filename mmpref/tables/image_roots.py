"""Where the images of paths lie: folders and ZIP archives, names of another machine's folders, of COCO's two years, and
in other letters. No path leads out of its root."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

from mmpref.errors import ImageError, InputError, brief, reason_of
from mmpref.images import read_under
from mmpref.local_paths import check_hint
from mmpref.log import logger
from mmpref.types import ImageData

MAX_MEMBER = 256_000_000
"""A member of an archive that unpacks to more bytes than this is no image."""
MAX_PATH = 4096
SHORTENED = "image_paths_shortened"
"""A row's note: its image lies where only the end of the path leads, the first folders being another machine's."""
RESPELLED = "image_names_respelled"
"""Another: the file's name differs from the row's in the case of letters, or in how accents are written."""
_LONGEST_ENDING = 4
_UNREADABLE = (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_NAMES_SHOWN = 4
_COCO = re.compile(r"(?:^|[/_])(\d{12})\.(?:jpg|jpeg|png)$", re.IGNORECASE)


class MissingImageError(ImageError):
    """No root has an image of that name.

    Args:
        name: the path as the row has it.
    """

    reason = "missing-image"

    def __init__(self, name: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.name = name


def coco_id(name: str) -> int | None:
    """The COCO id in an image's name, the same for 2014 and 2017; None where it is no COCO name."""
    match = _COCO.search(name)
    return int(match[1]) if match else None


class ImageRoots:
    """Folders and ``.zip`` files that image paths of rows are relative to.

    A path that no root has whole is tried without its first folders (``./data/coco/x.jpg``: ``coco/x.jpg``, ``x.jpg``),
    since published sets carry the folders of their authors' machines. COCO names find each other by their id. Last, the
    one file is taken whose name differs in the case of letters or in how accents are composed; of several none is.

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
        if alike := self._respelled(name):
            names = " and ".join(repr(brief(path)) for _, path in alike[:_NAMES_SHOWN])
            raise MissingImageError(
                name,
                f"no image file {brief(name)!r} under {brief(roots, 600)}, but {names}: any could be meant.",
                "Write the name as the file has it.",
            )
        raise MissingImageError(
            name,
            f"no image file {brief(name)!r} under {brief(roots, 600)}.",
            "Name the folder that paths are relative to with --image-root.",
        )

    def _place(self, name: str) -> tuple[_Root, str] | None:
        """Under which root a path is found, and by what name."""
        if place := self._spelled(name):
            return place
        alike = self._respelled(name)
        if len(alike) != 1:
            return None
        _tell_respelled(str(alike[0][0]), name, alike[0][1])
        return alike[0]

    def _spelled(self, name: str) -> tuple[_Root, str] | None:
        """The same of a path whose letters are the file's."""
        for candidate in _candidates(name):
            for root in self._roots:
                if root.has(candidate):
                    return root, candidate
        match = _COCO.search(name)
        return self._coco.get(int(match[1])) if match else None

    def _respelled(self, name: str) -> list[tuple[_Root, str]]:
        """The files whose names differ in the case of letters or in how accents are composed, by the longest part of
        the path that any has."""
        for candidate in _candidates(name):
            if alike := [(root, path) for root in self._roots for path in root.alike(candidate)]:
                return alike
        return []

    def note(self, name: str) -> str | None:
        """How a file that `read` finds is named otherwise; None where it is not."""
        if self.has(name):
            return None
        return SHORTENED if self._spelled(name) else RESPELLED

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
        try:
            return root.read(path)
        except _UNREADABLE as error:
            raise ImageError(f"image path {brief(path)!r} cannot be read: {_reason(error)}.") from error


_TOLD = "Warning: the image %r is found as %r in %s; it is not told again of others."
_told: set[str] = set()
"""Roots."""


def _tell_respelled(root: str, name: str, path: str) -> None:
    """Say once of each root that names are spelled otherwise; every row is counted (`RESPELLED`)."""
    if root not in _told:
        _told.add(root)
        logger.warning(_TOLD, brief(name), brief(path), root)


def folded(name: str) -> str:
    """A path without what file systems disagree on: the case of letters, and whether an accent is a character."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


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
    def alike(self, name: str) -> list[str]:
        """All files whose `folded` path is that of a relative one that does not climb, in a fixed order."""
        ...

    def names(self) -> Iterator[str]:
        """All files, in a fixed order."""
        ...


def _open(path: Path) -> _Root:
    if path.is_dir():
        return _Folder(path.resolve())
    # The Hub's cache links names to files without a suffix.
    if path.suffix.lower() == ".zip" and path.is_file():
        return _Archive(path)
    hint = check_hint(str(path), "Check --image-root.")
    raise InputError(f"The image root {path} is not a folder or a .zip file.", hint)


def _plain_parts(name: str) -> tuple[str, ...]:
    """The parts of a relative path that does not climb; none of another."""
    path = PurePosixPath(name)
    return () if path.is_absolute() or ".." in path.parts else path.parts


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._listings: dict[str, dict[str, list[str]]] = {}

    def __str__(self) -> str:
        return str(self._path)

    def _inside(self, name: str) -> bool:
        return (self._path / name).resolve().is_relative_to(self._path)

    def has(self, name: str) -> bool:
        # What lies outside is not even looked at: nobody here may be allowed to. Of a name that cannot lead there but
        # by a link, the file is looked for first: where it is not, resolving would take most of the time.
        return bool(_plain_parts(name) or self._inside(name)) and (self._path / name).is_file() and self._inside(name)

    def leads_out(self, name: str) -> bool:
        climbs = ".." in PurePosixPath(name).parts
        return not self._inside(name) and (climbs or (self._path / name).is_file())

    def read(self, name: str) -> ImageData:
        return read_under(self._path, name)

    def alike(self, name: str) -> list[str]:
        places = [""]
        for part in _plain_parts(name):
            # Folders on the way are listed, and no others: a root may be large.
            places = [f"{place}{found}/" for place in places for found in self._listed(place).get(folded(part), ())]
        return [place[:-1] for place in places if place and self.has(place[:-1])]

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """Names in a folder, by how they are folded."""
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            with contextlib.suppress(OSError):
                for name in sorted(os.listdir(self._path / folder)) if self._inside(folder) else ():
                    names.setdefault(folded(name), []).append(name)
            self._listings[folder] = names
        return self._listings[folder]

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

    @cached_property
    def _folded(self) -> dict[str, list[str]]:
        members: dict[str, list[str]] = {}
        for name in self.names():
            members.setdefault(folded(name), []).append(name)
        return members

    def alike(self, name: str) -> list[str]:
        plain = "/".join(_plain_parts(name))
        return next((found for path in (plain, self._top + plain) if (found := self._folded.get(folded(path)))), [])

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
