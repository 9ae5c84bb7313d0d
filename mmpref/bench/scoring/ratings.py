"""Reading what judges write: MMHal-Bench's rating, LLaVA-Bench's two scores, MM-Vet's correctness, lists of objects.

Each is the published rule but for two things: marks of Markdown do not hinder it, and what cannot be read is None (the
original scripts count it as 0, or as -1 in the mean).
"""

from __future__ import annotations

import json
import re

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S)
_MARKDOWN = re.compile(r"[*_`#]")
RATINGS = range(7)
HALLUCINATES_BELOW = 3


def rating(reply: str) -> int | None:
    """The one rating 0 to 6 that a reply names (LLaVA-RLHF `Eval/eval_gpt_mmhal.py`: it looks for "rating: 0" to
    "rating: 6"); None where it names none or several, such as by quoting the scale."""
    plain = " ".join(_MARKDOWN.sub("", reply).lower().split())
    found = [value for value in RATINGS if f"rating: {value}" in plain]
    return found[0] if len(found) == 1 else None


def two_scores(reply: str) -> tuple[float, float] | None:
    """The two numbers on the first line, and nothing else on it (LLaVA `eval_gpt_review_bench.py`)."""
    lines = _MARKDOWN.sub("", reply).strip().split("\n")
    words = lines[0].replace(",", " ").split()
    try:
        first, second = map(float, words)
    except ValueError:
        return None
    return (first, second) if 0 < first <= 10 and 0 < second <= 10 else None


def correctness(reply: str) -> float | None:
    """The number between 0 and 1 that a reply begins with (yuweihao/MM-Vet `mm-vet_evaluator.py`)."""
    words = _MARKDOWN.sub("", reply).split()
    try:
        value = float(words[0])
    except (ValueError, IndexError):
        return None
    return value if 0 <= value <= 1 else None


def objects(reply: str) -> list[str] | None:
    """The JSON list of names that a reply gives in its first fence, on its last line, or as a whole (RLAIF-V
    `eval/eval_gpt_obj_halbench.py`, which knows the first two, and stops at an empty list without a fence)."""
    fenced = _FENCED.search(reply)
    lines = reply.strip().splitlines() or [""]
    for text in ([fenced[1]] if fenced else []) + [lines[-1], reply]:
        if text.strip() == "()":
            return []
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return found
    return None
