"""Cells of benchmark rows, with errors that name the row and the column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.errors import ImageError, InputError
from mmpref.images import read_under
from mmpref.tables import Row, Table
from mmpref.types import ImageData, Message, messages


def cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The value of a column.

    Raises:
        InputError: there is no such column, or it is empty.
    """
    if row.get(column) is None:
        raise InputError(f"{where} has no value in column {column!r}; its columns are {', '.join(row)}.")
    return row[column]


def numbered(table: Table, limit: int | None) -> Iterator[tuple[int, Row, str]]:
    """The first rows of a table, each with its number and how an error names it."""
    for number, row in enumerate(islice(table, limit)):
        yield number, row, f"{table.spec} ({table.split}), row {number}"


def one_of(row: Mapping[str, Any], column: str, where: str, allowed: Sequence[str]) -> str:
    """A cell that holds one of some words, whatever its case.

    Raises:
        InputError: it holds another value.
    """
    value = str(cell(row, column, where)).strip().lower()
    if value not in allowed:
        raise InputError(f"{where}, column {column} is {value!r}, none of {', '.join(allowed)}.")
    return value


def list_of(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    """A cell that holds a list of strings.

    Raises:
        InputError: it holds anything else.
    """
    value = cell(row, column, where)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{where}, column {column} is a {type(value).__name__}, not a list of strings.")
    return value


def turns_of(row: Mapping[str, Any], column: str, where: str) -> list[Message]:
    """A preference set's ``prompt``, ``chosen`` or ``rejected``: messages, or plain text.

    Raises:
        InputError: it holds anything else.
    """
    value = cell(row, column, where)
    if isinstance(value, str):
        return [Message("user" if column == "prompt" else "assistant", value)]
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise InputError(f"{where}, column {column} holds no messages.")
    return messages(value)


def image_of(row: Mapping[str, Any], where: str, root: Path | None, column: str = "image") -> ImageData:
    """The encoded image of a column: bytes, or a path under the folder of a local table. One that cannot be read is
    empty, and so cannot be decoded: its sample will count as missing.

    Raises:
        InputError: there is no such column, or it holds several images.
    """
    value = row[column] if column in row else cell(row, column, where)
    if isinstance(value, list):
        if len(value) > 1:
            raise InputError(f"{where}, column {column} holds {len(value)} images; this benchmark asks about one.")
        value = value[0] if value else None
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(content, bytes) and content:
        return ImageData(content, where)
    path = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(path, str):
        return ImageData(b"", f"{where} (no image)")
    if root is None:
        return ImageData(b"", f"{where} (a path, and the table has no folder: {path!r})")
    try:
        return ImageData(read_under(root, path).content, where)
    except (ImageError, OSError, ValueError) as error:
        return ImageData(b"", f"{where} ({str(error)[:300].rstrip('.')})")
