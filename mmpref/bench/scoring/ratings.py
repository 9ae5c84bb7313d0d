"""Reading what judges write: MMHal-Bench's rating, LLaVA-Bench's two scores, MM-Vet's correctness, lists of objects.

Numbers are read by the grammar of `mmpref.judges.verdicts`, each on its benchmark's scale. On replies of the form that
the prompts ask for it reads what the published scripts read. It differs where these look for a substring or give up: a
number of another scale, a percentage or ``10`` is no 1, the last labelled number counts where several are labelled, and
what cannot be read is None (the original scripts count it as 0, or as -1 in the mean).
"""

from __future__ import annotations

import json
import re

from mmpref.judges import verdicts

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S)
RATINGS = range(7)
HALLUCINATES_BELOW = 3


def rating(reply: str) -> int | None:
    """The rating 0 to 6 that a reply names. None where it names none, several at once, quotes the scale, or lies
    between two of its seven options: LLaVA-RLHF's `Eval/eval_gpt_mmhal.py` looks for "rating: 0" to "rating: 6", and
    finds 4 in ``4.5``."""
    number = verdicts.number(reply, RATINGS[0], RATINGS[-1])
    return int(number) if number is not None and number in RATINGS else None


def two_scores(reply: str) -> tuple[float, float] | None:
    """The two numbers on the first line, and nothing else on it (LLaVA `eval_gpt_review_bench.py`), or those of
    Assistant 1 and Assistant 2 where they are labelled so; each above 0 and up to 10."""
    pair = verdicts.pair(reply, 0, 10, ("assistant 1", "assistant 2"))
    return pair if pair and min(pair) > 0 else None


def correctness(reply: str) -> float | None:
    """The number between 0 and 1 that a reply labels, or begins with (yuweihao/MM-Vet `mm-vet_evaluator.py`)."""
    labelled = verdicts.number(reply, 0, 1, ("correctness", "score"))
    return verdicts.leading(reply, 0, 1) if labelled is None else labelled


def objects(reply: str) -> list[str] | None:
    """The JSON list of names that a reply gives in its first fence, on its last line, or as a whole (RLAIF-V
    `eval/eval_gpt_obj_halbench.py`, which knows the first two, and stops at an empty list without a fence)."""
    fenced = _FENCED.search(reply)
    lines = reply.strip().splitlines() or [""]
    for text in ([fenced[1]] if fenced else []) + [lines[-1], reply]:
        if text.strip() == "()":
            return []
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return None
