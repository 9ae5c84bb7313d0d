"""Losses over pairs, by name: what TRL calls them, and what their strength means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mmpref.errors import UsageError

Kind = Literal["sigmoid", "ipo", "hinge"]
BETAS: dict[str, float] = {"sigmoid": 0.1, "ipo": 0.9, "hinge": 0.1}
"""Within the ranges that the paper searches (appendix A)."""


@dataclass(frozen=True)
class PairwiseSettings:
    """A loss over pairs, whichever the method's pairs are.

    Args:
        kind: ``sigmoid`` (DPO), ``ipo`` or ``hinge`` (SLiC).
        beta: how strongly the policy is held to the base model; None takes 0.1, for ipo 0.9.
    """

    kind: Kind = "sigmoid"
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.beta is not None and not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.", "The paper searches 0.02 to 1.")


def options(settings: PairwiseSettings) -> dict[str, Any]:
    """The loss as options of `trl.DPOConfig`."""
    return {"loss_type": [settings.kind], "beta": BETAS[settings.kind] if settings.beta is None else settings.beta}
