"""VL-RewardBench's groups, and its reading of a verdict (vl-rewardbench/VL_RewardBench `cal.py`, commit 9b10abd).

What stands before the first ``_`` or ``-`` of an id says which set a pair is from, and the set its group. A verdict
is a sentence that begins with "Overall Judgment" or "Therefore" and says that "Answer N is better".
"""

from __future__ import annotations

import re

_GROUP_OF = {
    "rlaif": "hallucination",
    "rlhf": "hallucination",
    "hallucination": "hallucination",
    "mathverse": "reasoning",
    "mmmu": "reasoning",
}
_VERDICT = re.compile(
    r"(?:Overall Judgment|Therefore)\s*.*\s*-*\s*Answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better", re.IGNORECASE
)


def group_of(name: str) -> str:
    """The group of the pair of that id; what is of no set that is named here is general."""
    return _GROUP_OF.get(re.split("[_-]", name, maxsplit=1)[0].lower(), "general")


def better(reply: str) -> int | None:
    """1 or 2, which answer is called the better one; None where the reply does not say."""
    match = _VERDICT.search(reply.replace("\n", "").replace("*", ""))
    return int(match[1]) if match and match[1] in ("1", "2") else None
