"""Cells of benchmark rows, with errors that name the row and the column."""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import ImageError, InputError
from mmpref.images import decode, read_under
from mmpref.registry import resolve_path
from mmpref.tables.image_cells import held, is_embedded
from mmpref.tables.table import Row, Table
from mmpref.types import ImageData, Message, messages

if TYPE_CHECKING:
    from PIL import Image

_AROUND = " .,:;!?()[]\"'"
_SHOWN = 200


def is_empty(value: Any) -> bool:
    """Whether a cell has no value: null, NaN, or text of nothing but white space."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, numbers.Number) and bool(value != value))


def cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The value of a column.

    Raises:
        InputError: there is no such column, or it is empty.
    """
    if is_empty(row.get(column)):
        raise InputError(f"{where} has no value in column {column!r}; its columns are {', '.join(row)}.")
    return row[column]


def text(row: Mapping[str, Any], column: str, where: str) -> str:
    """A cell as text; a whole number is written as one, whatever type its table gave it.

    Raises:
        InputError: it is empty, or holds a list or the like.
    """
    value = cell(row, column, where)
    if isinstance(value, str):
        return value
    if not isinstance(value, numbers.Number):
        raise InputError(f"{where}, column {column} is a {type(value).__name__}, not text.")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def optional(row: Mapping[str, Any], column: str) -> str | None:
    """A cell as text; None where there is none."""
    return None if is_empty(row.get(column)) else text(row, column, "")


def column_of(row: Mapping[str, Any], *names: str) -> str:
    """The first of these columns that a row has: authors call a column by another name than the Hub's copies."""
    return next((name for name in names if name in row), names[0])


def numbered(table: Table, limit: int | None) -> Iterator[tuple[int, Row, str]]:
    """The first rows of a table, each with its number and how an error names it."""
    for number, row in enumerate(islice(table, limit)):
        yield number, row, f"{table.spec} ({table.split}), row {number}"


def one_of(row: Mapping[str, Any], column: str, where: str, allowed: Sequence[str]) -> str:
    """A cell that holds one of some words, whatever its case and the marks around it; of yes and no also a boolean.

    Raises:
        InputError: it holds another value.
    """
    value = text(row, column, where).strip().strip(_AROUND).lower()
    if "yes" in allowed:
        value = {"true": "yes", "false": "no"}.get(value, value)
    if value not in allowed:
        raise InputError(f"{where}, column {column} is {value[:80]!r}, none of {', '.join(allowed)}.")
    return value


def list_of(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    """A cell that holds a list of strings.

    Raises:
        InputError: it holds anything else, or a list with an empty entry.
    """
    value = cell(row, column, where)
    if not isinstance(value, list):
        raise InputError(f"{where}, column {column} is a {type(value).__name__}, not a list of strings.")
    wrong = next((number for number, item in enumerate(value) if not isinstance(item, str) or is_empty(item)), None)
    if wrong is not None:
        what = "empty" if is_empty(value[wrong]) else f"a {type(value[wrong]).__name__}"
        raise InputError(f"{where}, column {column} holds a list whose entry {wrong} is {what}, not a string.")
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
    for number, turn in enumerate(value):
        content = turn.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        said = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
        if not isinstance(turn.get("role"), str) or not any(isinstance(one, str) and one.strip() for one in said):
            raise InputError(f"{where}, column {column}, turn {number} has no role or no text.")
    return messages(value)


def image_of(
    row: Mapping[str, Any], where: str, root: Path | None, column: str = "image", folder: str | None = None
) -> ImageData:
    """The encoded image of a column: bytes, base64, a data URI, or a path under the folder of a local table. One that
    cannot be read is empty, named by the reason, and cannot be seen (`seen`): its sample will count as missing.

    Args:
        folder: of the images, where it is not the table's. Authors' paths need not begin there: they are tried without
            their first folders too.

    Raises:
        InputError: there is no such column, it holds several images, or there is no such folder.
    """
    value = row[column] if column in row else cell(row, column, where)
    if isinstance(value, list):
        if len(value) > 1:
            raise InputError(f"{where}, column {column} holds {len(value)} images; this benchmark asks about one.")
        value = value[0] if value else None
    try:
        if content := held(value):
            return ImageData(content, where)
    except ImageError as error:
        return ImageData(b"", f"{where} ({str(error).rstrip('.')})")
    path = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(path, str) or not path.strip():
        return ImageData(b"", f"{where} (no image)")
    if path.startswith(("http://", "https://")):
        return ImageData(b"", f"{where} (an address, which is not fetched: {path[:_SHOWN]!r})")
    if folder is None and root is None:
        return ImageData(b"", f"{where} (a path, and the table has no folder: {path[:_SHOWN]!r})")
    try:
        found = read_under(root, path) if folder is None and root else _under(folder or "", path)
    except (ImageError, OSError, ValueError) as error:
        return ImageData(b"", f"{where} ({str(error)[:300].rstrip('.')})")
    return ImageData(found.content, where) if found.content else ImageData(b"", f"{where} (a file of 0 bytes)")


def _under(folder: str, path: str) -> ImageData:
    """The image of an author's path in a folder of images, whatever system the path is of."""
    root = Path(resolve_path(folder)).expanduser()
    if not root.is_dir():
        raise InputError(f"There is no folder of images {folder}.", "Check the benchmark's setting images.")
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        candidate = "/".join(parts[start:])
        if (root / candidate).is_file():
            return read_under(root, candidate)
    raise ImageError(f"no image file {path[:_SHOWN]!r} under {folder}")


def image_name(row: Mapping[str, Any], column: str = "image") -> str | None:
    """What a row calls its image: the file's name without its suffix; None where the cell is no path."""
    value = row.get(column)
    if not isinstance(value, str) or is_empty(value) or is_embedded(value):
        return None
    return Path(value.replace("\\", "/")).stem


def seen(image: ImageData) -> Image.Image:
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
