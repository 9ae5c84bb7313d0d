"""Whether the step of a training that is kept is any better than what it began with: the best of bad steps is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def none_was_better(manifest: Mapping[str, Any]) -> str:
    """That no step of a training was better than what it began with, as a clause; "" where one was, where none
    was chosen by a metric, or where what it began with was not measured.

    Args:
        manifest: of the training.
    """
    began = "the first adapter" if manifest.get("began") else "the base"
    return none_of(manifest.get("evaluations") or [], manifest.get("best"), began)


def none_of(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, began: str) -> str:
    """As `none_was_better`.

    Args:
        rows: what was measured while training.
        best: step, metric and value of the one that is kept, and what ``base`` had, if known.
        began: what the training began with, for readers.
    """
    if not rows or not best or best.get("base") is None:
        return ""
    gain = best["value"] - best["base"]
    return "" if (gain if rows[-1]["higher_is_better"] else -gain) > 0 else f"no step was better than {began}"
