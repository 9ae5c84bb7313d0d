"""What the numbers of a training's end are means over, in words."""

from __future__ import annotations

from collections.abc import Mapping

from mmpref.log import counted


def final_over_text(over: Mapping[str, int]) -> str:
    """``104 pairs, steps 7 to 10``; the steps alone of a training that did not count its pairs.

    Args:
        over: a manifest's ``final_over``.
    """
    pairs = f"{counted(over['pairs'], 'pair')}, " if "pairs" in over else ""
    first, last = over["first"], over["last"]
    return f"{pairs}steps {first} to {last}" if first < last else f"{pairs}step {last}"
