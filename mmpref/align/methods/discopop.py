"""A loss that a language model found: DPO's and an exponential one, blended (Lu et al., arXiv 2406.08414).

With d = beta * (chosen - rejected log-ratio) and s = sigmoid(d / tau): (1 - s) * -log sigmoid(d) + s * exp(-d) (eq. 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings(BetaSettings):
    """By default both are the authors'.

    Args:
        tau: how quickly one loss gives way to the other around a difference of 0.
    """

    beta: float = 0.05
    tau: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau > 0:
            raise UsageError(f"loss.tau is {self.tau}; it must be above 0.")


def _options(settings: Settings) -> dict[str, Any]:
    return {**trl_loss("discopop")(settings), "discopop_tau": settings.tau}


METHOD = Method(Settings, _options, tags=("preference",))
