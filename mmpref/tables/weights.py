"""Columns of a row that weigh it in training, and their reading: one rule for whoever keeps them and whoever trains.

* ``severity``: a number above 0, how grave the rejected answer's mistakes are (``hsa-dpo``);
* ``hardness``: any number, how much better the chosen answer was measured to be (``dama``);
* ``chosen_weights``, ``rejected_weights``: lists of ``{"begin": 3, "end": 8, "weight": 4.0}``, of characters of the
  answer without the white space around it; null and a column that is not there are no spans (``token-dpo``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from mmpref.errors import brief
from mmpref.tables.rows import Fault

NUMBERS = ("severity", "hardness")
SPANS = {"chosen": "chosen_weights", "rejected": "rejected_weights"}


def read_weights(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any] | Fault:
    """A row's weights by column, checked; or why the row cannot be used."""
    read: dict[str, Any] = {}
    for column in columns:
        value = row.get(column)
        if column in NUMBERS:
            if value is None:
                return Fault("no-weight", f"{column} is not there", column, column)
            if not _is_number(value) or (column == "severity" and not float(value) > 0):
                return _bad(column, value)
            read[column] = float(value)
        else:
            spans = [] if value is None else value.tolist() if hasattr(value, "tolist") else value  # numpy's, of pandas
            if not isinstance(spans, list | tuple) or not all(map(_is_span, spans)):
                return _bad(column, value)
            read[column] = [
                {"begin": int(span["begin"]), "end": int(span["end"]), "weight": float(span["weight"])}
                for span in spans
            ]
    return read


def _bad(column: str, value: Any) -> Fault:
    return Fault("bad-weight", brief(f"{column} is {value!r}", 300), column, column)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_span(span: Any) -> bool:
    if not isinstance(span, Mapping) or not all(_is_number(span.get(name)) for name in ("begin", "end", "weight")):
        return False
    whole = all(float(span[name]).is_integer() for name in ("begin", "end"))
    return whole and 0 <= span["begin"] < span["end"] and span["weight"] >= 0
