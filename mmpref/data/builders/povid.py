"""POVID: LLaVA-Instruct answers, and GPT-4V's corruptions of them (YiyangAiLab/POVID_preference_data_for_VLLMs).

Zhou et al., arXiv 2402.11411. A row has the ``conversations`` and the ``rejected_conversations`` about a COCO train2014
image; only the first human and gpt turns matter. Image names may carry the authors' folder (``./data/coco/``). Reasons
for a skip beside the source's: ``prompts-differ``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmpref.data.builders._published import Row, published, rows
from mmpref.tables.messages import Unusable, role_of
from mmpref.tables.table import Origin

ORIGIN = Origin(("YiyangAiLab/POVID_preference_data_for_VLLMs",), files=("POVID_preference_data_for_VLLMs*.json",))


def _first(turns: list[Row], who: str) -> Any:
    return next((turn.get("value") for turn in turns if role_of(turn) == who), None)


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    chosen, rejected = rows(row, "conversations"), rows(row, "rejected_conversations")
    prompt = _first(chosen, "user")
    if prompt != _first(rejected, "user"):
        raise Unusable("prompts-differ")
    yield {
        "id": row.get("id"),
        "image": row.get("image"),
        "prompt": prompt,
        "chosen": _first(chosen, "assistant"),
        "rejected": _first(rejected, "assistant"),
    }


BUILDER = published("povid", ORIGIN, read)
