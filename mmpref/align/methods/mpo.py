"""Mixed preference optimisation on offline pairs: DPO, BCO and SFT, weighted (MPO, Wang et al., arXiv 2411.10442)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """The sum of DPO's loss (which answer is better), BCO's (how good each is by itself) and SFT's (how to write it).

    BCO is TRL's in this sum: without the running mean of rewards that its authors subtract.

    Args:
        beta: how strongly the policy is held to the base model.
        preference, quality, generation: weights of DPO's, BCO's and SFT's; by default the authors'.
    """

    beta: float = 0.1
    preference: float = 0.8
    quality: float = 0.2
    generation: float = 1.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.")
        for name in ("preference", "quality", "generation"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 0.")


def _options(settings: Settings) -> dict[str, Any]:
    weights = [settings.preference, settings.quality, settings.generation]
    return {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": weights, "beta": settings.beta}


METHOD = Method(Settings, _options, tags=("preference",))
