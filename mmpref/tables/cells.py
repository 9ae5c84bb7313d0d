"""Cells as files really have them: what is empty, what is text, a number or a list; JSON text, and lists of rows taken
apart into columns; and which cells of a row are its images."""

from __future__ import annotations

import ast
import functools
import json
import math
import numbers
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mmpref.errors import brief
from mmpref.words import folded

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
    "filename",
    "photo",
    "picture",
    "image_url",
    "image_urls",
    "jpg",
    "jpeg",
    "png",
    "webp",
)
"""Columns that may hold a row's images; the first that holds something does."""
IMAGE_BYTES = ("bytes", "base64", "b64", "data")
"""Where a mapping that is an image cell has the image itself."""
_LOOKS_LIKE_IMAGE = re.compile(r"(image|img|photo|picture|pixel)s?(_|$)|.*_(image|img)s?(_|\d|$)", re.IGNORECASE)
_ABOUT_IMAGES = re.compile(r".*_(ids?|width|height|size|count|num|caption|source|license|sha256|md5|token)s?$")
_IMAGE_FILE = re.compile(r"[^\n]{1,1000}\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|heic|heif|avif)", re.IGNORECASE)
_NOTHING = {"", "nan", "none", "null", "na", "n/a", "<na>", "nat"}
_VALUES = frozenset({str, bytes, list, tuple, dict, bool, int})
"""Types of which every value is one. Most cells are of them, and this is asked more often than anything else."""
_LONGEST_LITERAL = 200_000
"""Characters of a Python literal (what pandas writes of a list into CSV) that are read."""


def is_missing(value: object) -> bool:
    """Whether there is no value: None, or not-a-number in the form of any library (a float, pandas' NA or NaT)."""
    if value is None:
        return True
    if type(value) in _VALUES or isinstance(value, Mapping):
        return False
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA refuses to be compared
        return True
    except ValueError:  # an array
        return False


def is_empty(value: object) -> bool:
    """Whether a cell of text holds none: nothing, or white space. The words ``nan`` and ``None`` are text."""
    return not value.strip() if isinstance(value, str) else is_missing(value)


def is_null(value: object) -> bool:
    """Whether a cell of a column that is no text holds nothing, the text forms of nothing included: ``""``, ``NaN``,
    ``None``, ``null``, ``<NA>``."""
    return is_missing(value) or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def is_false(value: object) -> bool:
    """Whether a cell says no: false or 0, as text too, and as the fraction that a column with gaps makes of it."""
    text = str(value) if isinstance(value, bool) else as_text(value)
    return text is not None and text.strip().lower() in ("false", "0", "0.0")


def as_text(value: object) -> str | None:
    """A cell that is text, or a number, as text; None for any other. A whole number is written as one, whatever type
    its table gave it (Parquet makes 3.0 of a 3 in a column that lacks one)."""
    if isinstance(value, str):
        return value
    if (
        isinstance(value, bool | list | dict)
        or not isinstance(value, numbers.Real | Decimal)
        or not math.isfinite(value)
    ):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_number(value: object) -> float | None:
    """A number, given as one or as text of one (as in CSV files); None for anything else, such as ``N/A``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def unpacked(value: Any) -> Any:
    """What a cell of JSON text holds, where that is a list or a mapping; lists of dicts that pandas wrote into CSV
    (Python literals) too. Any other cell as it is."""
    if not isinstance(value, str) or not (content := value.strip()) or content[0] + content[-1] not in ("[]", "{}"):
        return value
    try:
        content = json.loads(content)
    except (ValueError, RecursionError):
        content = _literal(content)
    return content if isinstance(content, list | dict) else value


OBJECTS = ("objects", "gt_object")
"""Columns that list what a row's images show, as people write it and as CHAIR's published sets call it; the first that
is there counts."""


def object_names(value: Any) -> list[str] | None:
    """Names of objects in a cell, folded (`mmpref.words.folded`): of a list of texts, or of text with commas as people
    write it into CSV; None where it holds anything else."""
    cell = unpacked(value)
    if isinstance(cell, str):
        cell = [name for part in re.split("[,;]", cell) if (name := part.strip())]
    if not isinstance(cell, list) or not all(isinstance(name, str) and not is_empty(name) for name in cell):
        return None
    return [folded(name).strip() for name in cell]


def _literal(text: str) -> Any:
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def records(value: Any) -> Any:
    """A mapping of lists of one length (what ``datasets`` makes of a sequence of dicts) as a list of mappings; any
    other value as it is."""
    if not isinstance(value, Mapping):
        return value
    columns = {name: column for name, column in value.items() if column is not None}
    if not columns or not all(isinstance(column, list) for column in columns.values()):
        return value
    if len({len(column) for column in columns.values()}) != 1:
        return value
    return [dict(zip(columns, items, strict=True)) for items in zip(*columns.values(), strict=True)]


class NamedRow(dict[str, Any]):
    """A row whose columns are called what their reader calls them, and that knows how its owner wrote them.

    Args:
        cells: by the reader's names.
        called: the reader's name of a column -> that of `before`, where they differ.
        before: the row that it was made of, with all its columns.
    """

    def __init__(self, cells: Mapping[str, Any], called: Mapping[str, str], before: Mapping[str, Any]) -> None:
        super().__init__(cells)
        self.own = {name: own_name(before, called.get(name, name)) for name in cells}
        self.columns: tuple[str, ...] = before.columns if isinstance(before, NamedRow) else tuple(map(str, before))


@functools.lru_cache(maxsize=4096)
def plain_name(column: str) -> str:
    """``image_path`` of ``Image Path``: a column's name without capitals and spaces."""
    return "_".join(str(column).lower().split())


def own_name(row: Mapping[str, Any], column: str) -> str:
    """What the owner of a row calls this column of it."""
    return row.own.get(column, column) if isinstance(row, NamedRow) else column


def columns_of(row: Mapping[str, Any]) -> str:
    """The row's columns, for messages: as its owner wrote them, each with the name that it is read by, where that is
    none of its own in other letters."""
    if not isinstance(row, NamedRow):
        return brief(", ".join(brief(str(name), 60) for name in list(row)[:60]), 600) or "none"
    return brief(", ".join(_told(row, column) for column in row.columns[:60]), 600) or "none"


def _told(row: NamedRow, column: str) -> str:
    as_it_is = (column, plain_name(column))
    read_as = [name for name, own in row.own.items() if own == column and name not in as_it_is]
    return brief(column, 60) + (f" (called {' and '.join(read_as)})" if read_as else "")


def image_cells(row: Mapping[str, Any]) -> list[Any]:
    """The image cells of a row, of whichever image column holds something; cells that say nothing are left out."""
    for name in IMAGES:
        value = records(unpacked(row.get(name)))
        cells = [cell for cell in (value if isinstance(value, list) else [value]) if not is_no_image(cell)]
        if cells:
            return cells
    return []


def unread_images(row: Mapping[str, Any], files: bool = True) -> list[str]:
    """Columns, as their owner calls them, that look as if they held images by their names, or (`files`) as they hold
    names of image files, and are not read."""
    return [
        own_name(row, name)
        for name, value in row.items()
        if name not in IMAGES
        and (
            (files and isinstance(value, str) and is_image_file(value.strip()))
            or (
                (_LOOKS_LIKE_IMAGE.match(name) or is_image_file(name))
                and not _ABOUT_IMAGES.match(name)
                and isinstance(value, str | bytes | list | Mapping)
                and not is_no_image(value)
            )
        )
    ]


def is_image_file(name: str) -> bool:
    """Whether this is the name of an image file, or of a member of a webdataset's row that is one (``seg.png``)."""
    return _IMAGE_FILE.fullmatch(name) is not None


def is_no_image(cell: Any) -> bool:
    """Whether a cell that would hold an image holds nothing: None, no text, an empty list, a mapping of these."""
    if isinstance(cell, Mapping):
        return not any(isinstance(cell.get(name), bytes) for name in IMAGE_BYTES) and all(
            map(is_no_image, cell.values())
        )
    return is_null(cell) or (isinstance(cell, list) and all(map(is_no_image, cell)))
