"""What rows say about themselves, and readers that turn rows of published sets into rows of a known shape.

The shapes and their reading are `mmpref.tables.conversations`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmpref.tables.cells import says_nothing
from mmpref.tables.turns import Unusable

__all__ = ["FACTS", "PROVENANCE", "Reader", "Unusable", "facts_of", "number"]

FACTS = ("source", "chosen_model", "rejected_model", "margin")
"""Columns that say where a row is from, who wrote its answers, and by how much the chosen one was rated better (a
number); all of them optional."""
PROVENANCE = ("method", "similarity", "iterations")
"""Columns of mmpref's own datasets that go along where their pairs are kept."""
_NUMBERS = {"margin", "similarity", "iterations"}

Reader = Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any] | Unusable]]
"""Turns one row as it was published into rows of a known shape (``id``, an image column, prompt, ``chosen``,
``rejected``, and `FACTS`). A pair that cannot be used is an `Unusable` among them; raising one ends the row. A row
that gives nothing is counted as ``no-pair``."""


def facts_of(row: Mapping[str, Any]) -> dict[str, str | float]:
    """The `FACTS` and `PROVENANCE` that the row has."""
    found: dict[str, str | float] = {}
    for name in (*FACTS, *PROVENANCE):
        value = row.get(name)
        if says_nothing(value):
            continue
        if name in _NUMBERS and (parsed := number(value)) is not None:
            found[name] = parsed
        elif name not in _NUMBERS and isinstance(value, str):
            found[name] = value
    return found


def number(value: object) -> float | None:
    """A number, given as one or as text of one (as in CSV files); None for anything else, such as ``N/A``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None
