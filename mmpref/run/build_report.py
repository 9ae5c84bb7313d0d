"""What is read off the report of a built dataset (`mmpref.data.stats.build_report`) wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

LENGTH_RATIO = "length of rejected answers over chosen ones, in words"
"""What ``length_bias.ratio`` is called."""


def shows_next_to_nothing(rho_th: Any, visible_tokens: float) -> bool:
    """Whether less than one image token stays visible in the mean, and nobody has said so: neither by the number of
    those that stay, nor by hiding all.

    Args:
        rho_th: as the settings have it; None where they say ``visible_tokens``.
    """
    return isinstance(rho_th, int | float) and rho_th < 1 and visible_tokens < 1


def resolved_shares(report: Mapping[str, Any]) -> list[float]:
    """Of the pairs that are in the dataset, the share that is resolved by each try: the report's ``share_of_pairs``,
    and of reports that were written before they had it. What was tried and left out, since both answers came out
    equal, does not count, as it does in ``share_of_tried``."""
    return [pairs / report["rows"] for pairs in accumulate(row["pairs"] for row in report["resolved"])]
