"""What rows say about themselves, and readers that turn rows of published sets into rows of a known shape.

The shapes and their reading are `mmpref.tables.rows`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmpref.errors import brief
from mmpref.tables.cells import OBJECTS, as_number, is_null, object_names
from mmpref.tables.messages import Unusable
from mmpref.tables.weights import SPANS, read_weights

FACTS = ("source", "chosen_model", "rejected_model", "margin", "severity", "hardness")
"""Columns that say where a row is from, who wrote its answers, by how much the chosen one was rated or measured to be
better, and how grave the rejected one's mistakes are (numbers); all of them optional."""
PROVENANCE = ("method", "similarity", "iterations")
"""Columns of mmpref's own datasets that go along where their pairs are kept."""
NUMBERS = frozenset(("margin", "severity", "hardness", "similarity", "iterations"))
"""Those of `FACTS` and `PROVENANCE` that are no text."""

Reader = Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any] | Unusable]]
"""Turns one row as it was published into rows of a known shape (``id``, an image column, prompt, ``chosen``,
``rejected``, and `FACTS`). A pair that cannot be used is an `Unusable` among them; raising one ends the row. A row
that gives nothing is counted as ``no-pair``."""


def facts_of(row: Mapping[str, Any]) -> dict[str, str | float]:
    """The `FACTS` and `PROVENANCE` that the row has."""
    facts: dict[str, str | float] = {}
    for name in (*FACTS, *PROVENANCE):
        value = row.get(name)
        if is_null(value):
            continue
        if name in NUMBERS and (parsed := as_number(value)) is not None:
            facts[name] = parsed
        elif name not in NUMBERS and isinstance(value, str):
            facts[name] = brief(value)
    return facts


def spans_of(row: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The weights of words that the row has, by column (`mmpref.tables.weights.SPANS`); none of what is no such list,
    for a set may have a column of that name for its own ends."""
    read = [read_weights(row, [column]) for column in SPANS.values()]
    return {column: spans for each in read if isinstance(each, dict) for column, spans in each.items() if spans}


def source_row_of(row: Mapping[str, Any]) -> str:
    """Which row of its source a row of an mmpref dataset was made of, as its ``source_id`` says; "" of others."""
    name = row.get("source_id")
    return name if isinstance(name, str) and re.fullmatch(r".+/[^/]+/\d+", name, re.DOTALL) else ""


def objects_of(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of what the row's images show, in lower case; None where no column of `OBJECTS` lists any names."""
    found = (object_names(row[name]) for name in OBJECTS if not is_null(row.get(name)))
    return next((tuple(names) for names in found if names is not None), None)
