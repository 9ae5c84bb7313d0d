"""Weights that the data give: of a row as a number, of an answer's tokens by where they stand in its text.

Columns, read where the method asks for them and nowhere else:

* ``severity``: a number above 0, how grave the rejected answer's mistakes are (``hsa-dpo``);
* ``hardness``: any number, how much better the chosen answer was measured to be (``dama``);
* ``chosen_weights``, ``rejected_weights``: lists of ``{"begin": 3, "end": 8, "weight": 4.0}``, of characters of the
  answer without the white space around it. A token has the weight of the first span that holds one of its characters,
  and 1 outside of all; null and a column that is not there are no spans (``token-dpo``).

``--columns severity=rejected_score`` says what a set calls its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from statistics import fmean
from typing import Any

from mmpref.errors import brief
from mmpref.tables.rows import Fault

NUMBERS = ("severity", "hardness")
SPANS = {"chosen": "chosen_weights", "rejected": "rejected_weights"}
ROW_WEIGHT = "row_weight"
"""Of a row that a batch is made of: what the method made of its number."""
TOKEN_WEIGHTS = "token_weights"
"""Of a batch: float [2B, T], of the tokens of chosen and rejected answers, their end included."""


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


def arrow_fields(columns: Sequence[str]) -> list[tuple[str, Any]]:
    """The columns of a file of checked rows that hold them."""
    import pyarrow as pa

    spans = pa.list_(pa.struct([("begin", pa.int64()), ("end", pa.int64()), ("weight", pa.float64())]))
    return [(column, pa.float64() if column in NUMBERS else spans) for column in columns]


def token_weights(tokenizer: Any, text: str, answer: str, spans: Sequence[Mapping[str, Any]]) -> list[float]:
    """The weight of every token of an answer as the prompt format writes it; what the format adds has 1.

    Args:
        text: what follows the prompt.
        answer: where in it is what the spans are of.
        spans: as the data have them.
    """
    begin = max(0, text.find(answer))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [
        next((span["weight"] for span in spans if left < begin + span["end"] and begin + span["begin"] < right), 1.0)
        for left, right in encoded["offset_mapping"]
    ]


def weight_facts(columns: Sequence[str], values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """What the data's weights are, for the manifest: of a number its mean and range; of spans how many rows have some,
    and the range of their weights.

    Args:
        values: those of all rows, by column.
    """
    facts: dict[str, Any] = {}
    for column in columns:
        of_rows = values[column]
        numbers = of_rows if column in NUMBERS else [span["weight"] for spans in of_rows for span in spans]
        facts[column] = {
            "rows": len(of_rows) if column in NUMBERS else sum(bool(len(spans)) for spans in of_rows),
            **({"least": min(numbers), "mean": fmean(numbers), "most": max(numbers)} if numbers else {}),
        }
    return facts
