"""DPO whose reference becomes the policy every so many steps: TR-DPO's hard update (Gorbatovski, arXiv 2404.09656).

Log-ratios are to the reference of that time, those in the log too. A run that ends before the first update is plain
DPO, and says so. The paper's soft update mixes weights, which LoRA's products do not allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings(BetaSettings):
    """DPO's loss.

    Args:
        every: steps between updates, tau in the paper; 512 is TRL's. It must be below the steps of the run to have any
            effect.
    """

    every: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise UsageError(f"loss.every is {self.every}; it must be at least 1.")


METHOD = Method(Settings, trl_loss("sigmoid"), reference_every=lambda settings: settings.every)
