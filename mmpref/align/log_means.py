"""Means over rows of a training's log, in which every pair weighs the same.

The last step of an epoch is of the pairs that are left, which may be few: the end of a training is as many of its last
rows as hold a tenth of its pairs, and 100, or half of all where that is less. A log that does not count pairs (that of
reinforcement learning, whose steps are equally large) is counted in steps, of which the end holds 4 at least.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LEAST = {"pairs": 100, "steps": 4}
"""What the end holds, where half of the training is more."""
_NAMES = {
    "loss": "loss",
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "chosen_reward": "rewards/chosen",
    "rejected_reward": "rewards/rejected",
    "chosen_log_ratio": "logratios/chosen",
    "rejected_log_ratio": "logratios/rejected",
    "chosen_logp": "logps/chosen",
    "rejected_logp": "logps/rejected",
    "reward": "reward",
    "kl": "kl",
    "chosen_kl": "kl/chosen",
    "rejected_kl": "kl/rejected",
    "entropy": "entropy",
}
"""What a manifest calls the numbers of a log."""


def log_until(rows: list[dict[str, Any]], best: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The log up to the step whose adapter is kept."""
    return [row for row in rows if not best or row["step"] <= best["step"]] or rows[:1]


def final_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the end of a log, by the names that a manifest has for them."""
    start = _start(rows)
    sizes = _sizes(rows)[1]
    means = {name: _mean(rows[start:], sizes[start:], key) for name, key in _NAMES.items()}
    return {name: value for name, value in means.items() if value is not None}


def final_over(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What `final_metrics` are means over: the ``first`` and ``last`` step, how many ``rows`` of the log they are, and
    how many ``pairs``, where these were counted."""
    start = _start(rows)
    unit, sizes = _sizes(rows)
    return {
        "first": rows[start - 1]["step"] + 1 if start else 1,
        "last": rows[-1]["step"] if rows else 0,
        "rows": len(rows) - start,
        **({unit: sum(sizes[start:])} if unit == "pairs" else {}),
    }


def first_mean(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean over the first tenth of the rows; None where none of them has the key."""
    count = max(1, len(rows) // 10)
    return _mean(rows[:count], _sizes(rows)[1][:count], key)


def running_means(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """At each row, the mean over as many rows up to it as the end of the whole log holds, so that the last one is that
    of `final_metrics`; nan where none of them has the key."""
    sizes = _sizes(rows)[1]
    weights = np.array([size if key in row else 0 for row, size in zip(rows, sizes, strict=True)], dtype=float)
    values = np.array([row.get(key, 0.0) for row in rows], dtype=float)
    windows = (slice(start, end) for end, start in enumerate(_starts(rows), 1))
    # Each by itself, not as differences of sums: one value that is not finite is in its own means alone.
    return [float(np.average(values[one], weights=weights[one])) if weights[one].any() else math.nan for one in windows]


def _mean(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int], key: str) -> float | None:
    """The mean over those rows that have the key, by their sizes; None where none has it."""
    having = [(row[key], size) for row, size in zip(rows, sizes, strict=True) if key in row]
    return statistics.fmean(*zip(*having, strict=True)) if having else None


def _sizes(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[int]]:
    """What rows are counted in, and how large each is."""
    if rows and all("pairs" in row for row in rows):
        return "pairs", [row["pairs"] for row in rows]
    steps = [row["step"] for row in rows]
    return "steps", [step - before for step, before in zip(steps, [0, *steps], strict=False)]


def _starts(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """For each row, the first of the fewest rows up to it that hold as much as an end must."""
    unit, sizes = _sizes(rows)
    before, total = _before(sizes), sum(sizes)
    wanted = max(total / 10, min(_LEAST[unit], total / 2))
    return np.maximum(np.searchsorted(before, before[1:] - wanted, side="right") - 1, 0)


def _start(rows: Sequence[Mapping[str, Any]]) -> int:
    """The first row of the end."""
    return int(_starts(rows)[-1]) if rows else 0


def _before(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The sums [N + 1] of the values before each place."""
    return np.concatenate([[0.0], np.cumsum(values)])
