"""Weights that the data give: of a row as a number, of an answer's tokens by where they stand in its text.

The columns are those of `mmpref.tables.weights`, read where the method asks for them and nowhere else. A token has the
weight of the first span that holds one of its characters, and 1 outside of all. ``--columns severity=rejected_score``
says what a set calls its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mmpref.tables.weights import NUMBERS

ROW_WEIGHT = "row_weight"
"""Of a row that a batch is made of: what the method made of its number."""
TOKEN_WEIGHTS = "token_weights"
"""Of a batch: float [2B, T], of the tokens of chosen and rejected answers, their end included."""


def arrow_fields(columns: Sequence[str]) -> list[tuple[str, Any]]:
    """The columns of a file of checked rows that hold them."""
    import pyarrow as pa

    spans = pa.list_(pa.struct([("begin", pa.int64()), ("end", pa.int64()), ("weight", pa.float64())]))
    return [(column, pa.float64() if column in NUMBERS else spans) for column in columns]


def token_weights(
    tokens: Sequence[tuple[int, int]], text: str, answer: str, spans: Sequence[Mapping[str, Any]]
) -> list[float]:
    """The weight of every token of an answer as the prompt format writes it; what the format adds has 1.

    Args:
        tokens: which characters of the text each stands for.
        text: what follows the prompt.
        answer: where in it is what the spans are of.
        spans: as the data have them.
    """
    begin = max(0, text.find(answer))
    return [
        next((span["weight"] for span in spans if left < begin + span["end"] and begin + span["begin"] < right), 1.0)
        for left, right in tokens
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
