"""Rows of a TAR file in WebDataset's layout: members that stand together and differ in their endings are one row."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from mmpref.errors import InputError, reason_of
from mmpref.text_files import text_of_bytes

KEY = "__key__"
"""The column with the name that a row's members share."""
_IMAGE = re.compile(r"(?:(?:(?:images?|img|photo|picture)[_.]?)?(?:\d+)?\.)?(?:jpe?g|png|webp|gif|bmp|tiff?)")
_TEXT_ENDINGS = ("txt", "text", "caption", "cls")
_LARGEST = 256_000_000
"""Bytes of a member: a packed file may unpack to more than any memory holds."""


def read_tar(file: Path) -> Iterator[dict[str, Any]]:
    """The rows, streamed: `KEY`, and a column for every member, named by all that stands behind the first dot of its
    name (``0001.png``: ``png``). An image is ``{"bytes", "path"}``, ``json`` what it holds, text is text.

    Raises:
        InputError: the file is broken, or one of its members is.
    """
    try:
        with tarfile.open(file, "r|*") as opened:
            for key, cells in groupby(_cells(file, opened), lambda cell: cell[0]):
                yield {KEY: key, **{column: value for _, column, value in cells}}
    except tarfile.TarError as error:
        raise InputError(f"{file} cannot be read as TAR: {reason_of(error).rstrip('.')}.") from error


def _cells(file: Path, opened: tarfile.TarFile) -> Iterator[tuple[str, str, Any]]:
    """(row's key, column, value) of every member."""
    while member := opened.next():
        opened.members.clear()  # type: ignore[attr-defined]  # the library would keep all of them
        path = PurePosixPath(member.name)
        stem, _, column = path.name.partition(".")
        if not (stem and column and member.isfile()):  # folders, links, and hidden files such as macOS's
            continue
        where = f"{file}, {member.name[:200]}"
        if member.size > _LARGEST:
            raise InputError(f"{where} has {member.size:,} bytes; at most {_LARGEST:,} are read.")
        content = opened.extractfile(member)
        if content is not None:
            yield str(path.with_name(stem)), column.lower(), _value(column.lower(), content.read(), path.name, where)


def _value(column: str, content: bytes, name: str, where: str) -> Any:
    ending = column.rpartition(".")[2]
    if ending == "json":
        try:
            return json.loads(text_of_bytes(content, where))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON: {reason_of(error).rstrip('.')}.") from error
    if ending in _TEXT_ENDINGS:
        return text_of_bytes(content, where)
    return {"bytes": content, "path": name}


def image_members(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a row's images, by column: members with a plain ending, or one that numbers or calls them images.
    Others, such as a mask in ``seg.png``, are what their makers know."""
    return {name: cell for name, cell in row.items() if _IMAGE.fullmatch(name)}
