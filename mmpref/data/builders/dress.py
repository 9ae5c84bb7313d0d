"""DRESS: a model's first answers, and what it made of them after feedback, where rated better (YangyiYY/LVLM_NLF).

Chen et al., arXiv 2311.10081. An ``interaction`` has a turn for each answer: ``user`` (the question, then requests to
refine), ``model``, ``rating`` (text of a number) and ``critique_NLF``. The first question is the prompt; the margin is
how far the rating rose. The files differ in the type of ``caption``, which is not read. Reasons for a skip beside the
source's: ``single-turn``, ``unrated``, ``not-better``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, published, rows
from mmpref.tables.cells import as_number
from mmpref.tables.messages import Unusable
from mmpref.tables.table import Origin

ORIGIN = Origin(("YangyiYY/LVLM_NLF",), files=("LVLM_NLF/*_nlf.jsonl", "*_nlf.jsonl"))


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    turns = rows(row, "interaction")
    if len(turns) < 2:
        raise Unusable("single-turn")
    first, last = turns[0], turns[-1]
    before, after = as_number(first.get("rating")), as_number(last.get("rating"))
    if before is None or after is None:
        raise Unusable("unrated", f"ratings {first.get('rating')!r} and {last.get('rating')!r}")
    if after <= before:
        raise Unusable("not-better", f"rated {before:g}, then {after:g}")
    yield {
        "id": row.get("id"),
        "image": row.get("image_id"),
        "prompt": first.get("user"),
        "chosen": last.get("model"),
        "rejected": first.get("model"),
        "margin": after - before,
    }


BUILDER = published("dress", ORIGIN, read)
