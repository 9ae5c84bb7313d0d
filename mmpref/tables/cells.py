"""Cells as files really have them: what is empty, what is text, a number or a list; JSON text, and lists of rows taken
apart into columns. A cell that must have a value raises an error that names its row and column."""

from __future__ import annotations

import ast
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mmpref.errors import InputError, brief

_NOTHING = {"", "nan", "none", "null", "na", "n/a", "<na>", "nat"}
_AROUND = " .,:;!?()[]\"'"
"""What may stand around a word that is one of a few."""
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


def columns_of(row: Mapping[str, Any]) -> str:
    """The row's columns, for messages."""
    return brief(", ".join(brief(str(name), 60) for name in list(row)[:60]), 600) or "none"


def column_of(row: Mapping[str, Any], *names: str) -> str:
    """The first of these columns that a row has: authors call a column by another name than the Hub's copies."""
    return next((name for name in names if name in row), names[0])


def value_of(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The value of a column that must have one.

    Raises:
        InputError: there is no such column, or it is empty.
    """
    if is_empty(row.get(column)):
        raise InputError(f"{where} has no value in column {column!r}; its columns are {columns_of(row)}.")
    return row[column]


def text_cell(row: Mapping[str, Any], column: str, where: str) -> str:
    """A cell as text (`as_text`), a boolean too.

    Raises:
        InputError: it is empty, or holds a list or the like.
    """
    value = value_of(row, column, where)
    content = str(value) if isinstance(value, bool) else as_text(value)
    if content is None:
        raise InputError(f"{where}, column {column} is a {type(value).__name__}, not text.")
    return content


def optional_text(row: Mapping[str, Any], column: str) -> str | None:
    """A cell as text; None where there is none."""
    return None if is_empty(row.get(column)) else text_cell(row, column, "")


def choice_cell(row: Mapping[str, Any], column: str, where: str, allowed: Sequence[str]) -> str:
    """A cell that holds one of some words, whatever its case and the marks around it; of yes and no also a boolean.

    Raises:
        InputError: it holds another value.
    """
    value = text_cell(row, column, where).strip().strip(_AROUND).lower()
    if "yes" in allowed:
        value = {"true": "yes", "false": "no"}.get(value, value)
    if value not in allowed:
        raise InputError(f"{where}, column {column} is {value[:80]!r}, none of {', '.join(allowed)}.")
    return value


def list_cell(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    """A cell that holds a list of strings, or JSON text of one.

    Raises:
        InputError: it holds anything else, or a list with an empty entry.
    """
    value = unpacked(value_of(row, column, where))
    if not isinstance(value, list):
        raise InputError(f"{where}, column {column} is a {type(value).__name__}, not a list of strings.")
    wrong = next((position for position, item in enumerate(value) if not isinstance(item, str) or is_empty(item)), None)
    if wrong is not None:
        what = "empty" if is_empty(value[wrong]) else f"a {type(value[wrong]).__name__}"
        raise InputError(f"{where}, column {column} holds a list whose entry {wrong} is {what}, not a string.")
    return value
