"""Cells of benchmark rows, with errors that name the row and the column."""

from __future__ import annotations

import contextlib
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
        InputError: the column is not there or empty.
    """
    value = cell(row, "image", where)
    if isinstance(value, Mapping) and value.get("bytes"):
        return ImageData(bytes(value["bytes"]), where)
    path = value.get("path") if isinstance(value, Mapping) else value
    if isinstance(path, str) and root is not None:
        with contextlib.suppress(ImageError):
            return ImageData(read_under(root, path).content, where)
    return ImageData(b"", where)
