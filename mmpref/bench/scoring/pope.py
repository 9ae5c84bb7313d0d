"""POPE's rule for yes and no, as published (RUCAIBox/POPE `evaluate.py`; LLaVA's `eval_pope.py` is the same).

The answer is cut at its first full stop, commas are deleted, and it is split at single spaces; it means no if one of
the words ``No``, ``not``, ``no`` is among them, and yes otherwise: an empty answer is a yes, "NO" is a yes too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import ratio

if TYPE_CHECKING:
    import numpy as np

_NO = frozenset({"No", "not", "no"})
_YES = re.compile(r"\byes\b", re.IGNORECASE)

COUNTS = ("tp", "fp", "fn", "tn", "n")
RATES: Mapping[str, Callable[[Mapping[str, Any]], np.ndarray]] = {
    "accuracy": lambda sums: ratio(sums["tp"] + sums["tn"], sums["n"]),
    "precision": lambda sums: ratio(sums["tp"], sums["tp"] + sums["fp"], 0.0),
    "recall": lambda sums: ratio(sums["tp"], sums["tp"] + sums["fn"], 0.0),
    "f1": lambda sums: ratio(2 * sums["tp"], 2 * sums["tp"] + sums["fp"] + sums["fn"], 0.0),
    "yes_ratio": lambda sums: ratio(sums["tp"] + sums["fp"], sums["n"]),
}
"""From sums of counts, or arrays of them. Of a model that never says yes precision and F1 are 0, and so is recall where
nothing is there, as lmms-eval has it (`tasks/pope/utils.py`); the authors' own file divides by 0 there."""


def parse(answer: str) -> str:
    """``yes`` or ``no`` by the original rule."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if _NO.intersection(words) else "yes"


def unreadable(answer: str) -> bool:
    """Whether the original rule makes a yes of an answer that has no such word, such as "maybe", "NO" or "**No**"; it
    is scored as that rule does all the same."""
    return parse(answer) == "yes" and _YES.search(answer) is None


def count(answer: str, truth: str) -> dict[str, float]:
    """Counts of one answer; the positive class is yes."""
    predicted, true = parse(answer) == "yes", truth == "yes"
    return {
        "tp": float(predicted and true),
        "fp": float(predicted and not true),
        "fn": float(not predicted and true),
        "tn": float(not predicted and not true),
        "n": 1.0,
    }


def scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """accuracy, precision, recall, f1, yes_ratio and parse_failures of raw answers against ``yes`` / ``no``.

    Raises:
        ValueError: no predictions, or a reference that is neither yes nor no.
    """
    if not predictions:
        raise ValueError("There are no predictions.")
    if unknown := set(references) - {"yes", "no"}:
        raise ValueError(f"References must be yes or no, not {sorted(unknown)}.")
    sums = dict.fromkeys(COUNTS, 0.0)
    for answer, truth in zip(predictions, references, strict=True):
        for name, value in count(answer, truth).items():
            sums[name] += value
    rates = {name: float(rate(sums)) for name, rate in RATES.items()}
    return {**rates, "parse_failures": float(sum(map(unreadable, predictions)))}
