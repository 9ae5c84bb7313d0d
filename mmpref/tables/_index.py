"""InternVL's meta files: one JSON object that names files of rows, and the folder of each one's images.

``{"m3cot_train": {"root": "MMPR-v1.2/images/M3CoT", "annotation": "MMPR-v1.2/annotations/m3cot_train.jsonl",
"length": 529, ...}, ...}`` (OpenGVLab/InternVL `internvl_chat/internvl/train/internvl_chat_mpo.py`, commit 2410d1d).
Files are JSON lines under the meta file's own folder, whose name paths may begin with, or members of a ``.zip`` there
that is called as their folder is (``annotations.zip``), as they are published; they are read one line at a time, and
never unpacked. A row's images lie in the root, and its ``source`` is the name of its file in the index.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mmpref.errors import InputError, brief, reason_of
from mmpref.text_files import open_text, read_text

_LARGEST = 10_000_000
"""Bytes of a file that is looked into for an index."""

Parse = Callable[[Path, int, str], dict[str, Any]]
"""A line of a file, and its number, as a row."""


class _Named(NamedTuple):
    """A file that an index names: itself, or the archive and its member; and how many of the first folders of the
    index's paths are left out here."""

    file: Path
    member: str | None
    left_out: int


def is_index(content: Any) -> bool:
    """Whether a JSON value is such an index, and not a row."""
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(
            isinstance(entry, Mapping) and all(isinstance(entry.get(name), str) for name in ("root", "annotation"))
            for entry in content.values()
        )
    )


def named_files(file: Path) -> list[Path]:
    """The files that a file names, if it is an index: what its rows depend on beside itself.

    Raises:
        InputError: one is not there.
    """
    if file.suffix.lower() != ".json" or file.stat().st_size > _LARGEST:
        return []
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError, InputError):
        return []  # as whoever reads its rows says
    if not is_index(content):
        return []
    return list(dict.fromkeys(_find(file, name, entry["annotation"]).file for name, entry in content.items()))


def rows_of(content: Mapping[str, Any], file: Path, parse: Parse) -> Iterator[dict[str, Any]]:
    """The rows of all files that an index names, in its order.

    Args:
        file: the index.

    Raises:
        InputError: a file that is not there or cannot be read.
    """
    for name, entry in content.items():
        named = _find(file, name, entry["annotation"])
        root = PurePosixPath(*PurePosixPath(entry["root"]).parts[named.left_out :])
        where = named.file / named.member if named.member else named.file
        for number, line in enumerate(_lines(named, where), 1):
            if line.strip():
                row = parse(where, number, line)
                yield {"source": name, **row, **_images(row, root)}


def _find(index: Path, name: str, annotation: str) -> _Named:
    parts, folder = PurePosixPath(annotation).parts, index.parent
    if ".." in parts:
        raise InputError(f"{index}: the file of {brief(name)!r} leaves the folder: {brief(annotation)}.")
    for start in range(len(parts)):
        if not PurePosixPath(annotation).is_absolute() and (file := folder.joinpath(*parts[start:])).is_file():
            return _Named(file, None, start)
    archive = folder / f"{PurePosixPath(annotation).parent.name}.zip"
    if archive.is_file():
        with _archive(archive) as opened:
            members = set(opened.namelist())
        for start in range(len(parts)):
            if (member := "/".join(parts[start:])) in members:
                return _Named(archive, member, max(0, len(parts) - 2))
    raise InputError(
        f"{index} names the file {brief(annotation)} of {brief(name)!r}, which is not there.",
        f"Put it under {folder}, or {archive.name} with it.",
    )


def _archive(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read: {reason_of(error)}.") from error


def _lines(named: _Named, where: Path) -> Iterator[str]:
    """
    Raises:
        InputError: a member that is no text, is damaged, or is locked by a password.
    """
    if named.member is None:
        with open_text(named.file) as opened:
            yield from opened
        return
    try:
        with (
            _archive(named.file) as archive,
            archive.open(named.member) as member,
            io.TextIOWrapper(member, encoding="utf-8-sig") as opened,
        ):
            yield from opened
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError(f"{where} cannot be read: {reason_of(error).rstrip('.')}.") from error


def _images(row: Mapping[str, Any], root: PurePosixPath) -> dict[str, Any]:
    """The row's images as paths from the index's folder."""
    cell = row.get("image")
    if isinstance(cell, str) and cell:
        return {"image": str(root / cell)}
    if isinstance(cell, list) and all(isinstance(one, str) for one in cell):
        return {"image": [str(root / one) for one in cell]}
    return {}
