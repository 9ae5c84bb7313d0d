"""Cells of benchmark rows, with errors that name the row and the column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.types import ImageData


def cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The value of a column.

    Raises:
        InputError: there is no such column, or it is empty.
    """
    if row.get(column) is None:
        raise InputError(f"{where} has no value in column {column!r}; its columns are {', '.join(row)}.")
    return row[column]


def image_of(row: Mapping[str, Any], where: str) -> ImageData:
    """The encoded image of column ``image``.

    Raises:
        InputError: there is none.
    """
    value = cell(row, "image", where)
    if isinstance(value, Mapping) and value.get("bytes"):
        return ImageData(bytes(value["bytes"]), where)
    path = value.get("path") if isinstance(value, Mapping) else value
    if isinstance(path, str) and Path(path).is_file():
        return ImageData(Path(path).read_bytes(), where)
    raise InputError(f"{where}, column 'image' holds no image that can be read.")
