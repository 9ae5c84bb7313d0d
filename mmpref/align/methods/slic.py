"""Sequence likelihood calibration: a hinge on pairs (SLiC, Zhao et al., arXiv 2305.10425; the paper's table 12)."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """max(0, 1 - beta * (chosen log-ratio - rejected log-ratio)); ratios are to the base model, summed over tokens.

    Args:
        beta: one over the margin at which a pair counts as learned. The paper searches 0.02 to 0.2.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.", "The paper searches 0.02 to 0.2.")


METHOD = Method(Settings, lambda settings: {"loss_type": ["hinge"], "beta": settings.beta}, tags=("preference",))
