"""MMStar's reading of a letter (MMStar-Benchmark/MMStar `eval/vlmeval/evaluate/mmstar.py`), and a stricter one.

The official rule looks at one character: the first, or the one behind "(", "option " or "the answer is ". So "A dog"
and "Apples" choose A. The strict rule wants the letter to stand alone.
"""

from __future__ import annotations

import re

_BEFORE = ("(", "option ", "the answer is ")
_ALONE = re.compile(r"(?:(?:the )?(?:correct )?(?:answer|option)(?: is)?:?\s*)*\(?([a-d])(?=[).:,]|\s*$)")


def _plain(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def right(answer: str, truth: str) -> bool:
    """Whether the official rule finds the true letter in the answer."""
    answer, truth = _plain(answer), _plain(truth)
    starts = [0, *(len(before) for before in _BEFORE if answer.startswith(before))]
    return any(answer[start : start + 1] == truth for start in starts) and bool(answer)


def letter(answer: str) -> str:
    """The letter that stands alone at the beginning, in upper case; empty where there is none."""
    match = _ALONE.match(_plain(answer))
    return match[1].upper() if match else ""
