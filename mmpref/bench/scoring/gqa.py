"""GQA's exact match: LLaVA's conversion before GQA's own scorer, and lmms-eval's rule beside it.

Official path: haotian-liu/LLaVA `scripts/convert_gqa_for_eval.py` (full stops at the end away, lower case), then
`eval.py` of GQA's download, which compares strings. lmms-eval compares after lower case with all ASCII punctuation
deleted, and no white space trimmed. Neither knows articles or synonyms: "a dog" is wrong where "dog" is asked for.
"""

from __future__ import annotations

import string

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def right(answer: str, truth: str) -> bool:
    """The official rule; GQA's answers are lower case."""
    return answer.rstrip(".").lower() == truth


def right_without_punctuation(answer: str, truth: str) -> bool:
    """lmms-eval's rule."""
    return answer.lower().translate(_NO_PUNCTUATION) == truth.lower().translate(_NO_PUNCTUATION)
