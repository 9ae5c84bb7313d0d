"""Two rejected answers a pair, an external one and the policy's own, their DPO losses averaged (the paper's eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import AveragedSettings, loss_options, loss_reward
from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings(AveragedSettings):
    """gamma * loss(chosen, ``rejected``) + (1 - gamma) * loss(chosen, ``rejected_policy``)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.averaged:
            raise UsageError("loss.gamma is 0: nothing would be averaged.", "Give it a value up to 1.")


METHOD = Method(
    Settings, loss_options, needs_second=True, reward=loss_reward, weights=lambda settings: settings.weights
)
