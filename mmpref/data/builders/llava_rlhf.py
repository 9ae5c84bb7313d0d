"""LLaVA-RLHF: two answers of one model, and which of them people preferred (zhiqings/LLaVA-Human-Preference-10K).

Sun et al., arXiv 2309.14525. ``output_<preference>`` is the chosen answer; the prompt is the conversation up to its
last human turn (a gpt turn after that is the one that the outputs replace). Images are COCO train2017. Reasons for a
skip beside the source's: ``no-preference``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, mapping, published, rows
from mmpref.tables.messages import Unusable, role_of
from mmpref.tables.table import Origin

ORIGIN = Origin(("zhiqings/LLaVA-Human-Preference-10K",), files=("llava_7b_v1_preference.json",))


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    turns = rows(row, "conversations")
    outputs = {1: mapping(row, "output_1").get("value"), 2: mapping(row, "output_2").get("value")}
    preferred = row.get("preference")
    if not isinstance(preferred, int) or isinstance(preferred, bool) or preferred not in outputs:
        raise Unusable("no-preference", f"preference is {preferred!r}")
    yield {
        "id": row.get("id"),
        "image": row.get("image"),
        "prompt": turns[:-1] if turns and role_of(turns[-1]) == "assistant" else turns,
        "chosen": outputs[preferred],
        "rejected": outputs[3 - preferred],
    }


BUILDER = published("llava-rlhf", ORIGIN, read)
