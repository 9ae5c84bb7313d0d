"""Direct preference optimisation on offline pairs (Rafailov et al., 2023; the paper's offline DPO)."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """-log sigmoid(beta * (chosen log-ratio - rejected log-ratio)); ratios are to the base model, summed over tokens.

    Args:
        beta: how strongly the policy is held to the base model. The paper searches 0.05 to 0.5.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.", "The paper searches 0.05 to 0.5.")


METHOD = Method(Settings, lambda settings: {"loss_type": ["sigmoid"], "beta": settings.beta})
