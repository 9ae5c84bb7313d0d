"""Cells of benchmark rows, with errors that name the row and the column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import ImageError, InputError
from mmpref.images import read_under
from mmpref.types import ImageData


def cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The value of a column.

    Raises:
        InputError: there is no such column, or it is empty.
    """
    if row.get(column) is None:
        raise InputError(f"{where} has no value in column {column!r}; its columns are {', '.join(row)}.")
    return row[column]


def image_of(row: Mapping[str, Any], where: str, root: Path | None) -> ImageData:
    """The encoded image of column ``image``: bytes, or a path under the folder of a local table. One that cannot be
    read is empty, and so cannot be decoded: its sample will count as missing.

    Raises:
        InputError: there is no such column.
    """
    value = row["image"] if "image" in row else cell(row, "image", where)
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
