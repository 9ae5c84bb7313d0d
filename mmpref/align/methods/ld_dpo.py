"""LD-DPO: what a longer answer has beyond the shorter one's length counts less (Liu et al., arXiv 2409.06411)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method
from mmpref.align.rewards import Reward, log_ratio
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings(BetaSettings):
    """DPO's loss on weighted sums of tokens' log-probabilities.

    Args:
        alpha: weight of the tokens beyond the length of the shorter answer: 1 is DPO, 0 leaves them out. 0.5 is our
            pick.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"loss.alpha is {self.alpha}; it must lie between 0 and 1.")


def _options(settings: Settings) -> dict[str, Any]:
    return {**trl_loss("sigmoid")(settings), "ld_alpha": settings.alpha}


def _reward(settings: Settings) -> Reward:
    """The trainer's sums are weighed as the loss's are."""
    dpos = log_ratio(settings.beta)
    return replace(
        dpos, text=f"{dpos.text}, tokens beyond the shorter answer's length weighing alpha ({settings.alpha:g})"
    )


METHOD = Method(Settings, _options, reward=_reward)
