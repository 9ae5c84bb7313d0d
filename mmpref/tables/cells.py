"""Cells as files really have them: values that say nothing, JSON text, lists of rows taken apart into columns."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

_NOTHING = {"", "nan", "none", "null", "na", "n/a", "<na>", "nat"}
_LONGEST_LITERAL = 200_000
"""Characters of a Python literal (what pandas writes of a list into CSV) that are read."""


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, or not-a-number in the form of any library (a float, pandas' NA or NaT)."""
    if value is None:
        return True
    if isinstance(value, str | bytes | list | tuple | Mapping):
        return False
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA refuses to be compared
        return True
    except ValueError:  # an array
        return False


def says_nothing(value: object) -> bool:
    """Whether a cell of a column that is no text holds nothing, the text forms of nothing included: ``""``, ``NaN``,
    ``None``, ``null``, ``<NA>``. In a column of text these are text."""
    return is_missing(value) or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def unpacked(value: Any) -> Any:
    """What a cell of JSON text holds, where that is a list or a mapping; lists of dicts that pandas wrote into CSV
    (Python literals) too. Any other cell as it is."""
    if not isinstance(value, str) or not (text := value.strip()) or text[0] + text[-1] not in ("[]", "{}"):
        return value
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text)
    return found if isinstance(found, list | dict) else value


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
