"""Yes and no as words anywhere in an answer: the judge-free reading of HallusionBench.

Rule: open-compass/VLMEvalKit `vlmeval/dataset/utils/yorn.py` (Apache-2.0): lower case, VQA's punctuation away, split;
yes if "yes" is among the words and "no" is not, no if it is the other way round, else unknown. "Not" says nothing.
"""

from __future__ import annotations

from mmpref.bench.scoring.vqa import without_marks

UNKNOWN = "unknown"


def parse(answer: str) -> str:
    """``yes``, ``no`` or ``unknown``."""
    words = without_marks(answer.lower()).split()
    yes, no = "yes" in words, "no" in words
    return UNKNOWN if yes == no else "yes" if yes else "no"
