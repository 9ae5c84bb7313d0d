"""Control: the chosen answers alone (SFT), no contrast; every claim about preferences needs it.

The loss is TRL's, the mean over the tokens of a batch's chosen answers. Rejected answers have no part in it; that they
are read along, by the same pass, shows in the log what plain fine-tuning does to them. The loss has no rewards: those
in the log are DPO's, with its default beta, so that they stand beside those of `dpo`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmpref.align.loss_settings import BETAS
from mmpref.align.method import Method
from mmpref.align.rewards import Reward, log_ratio


@dataclass(frozen=True)
class Settings:
    """There are none: the base model has no part in the loss."""


def _reward(settings: Settings) -> Reward:
    dpos = log_ratio(BETAS["sigmoid"])
    return replace(dpos, text=f"{dpos.text}, as in dpo: the loss has no rewards")


METHOD = Method(Settings, lambda _: {"loss_type": ["sft"]}, reward=_reward, tags=())
