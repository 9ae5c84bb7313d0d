"""Self-play preference optimisation's loss on pairs that somebody judged once (SPPO, Wu et al., arXiv 2405.00675).

(chosen log-ratio - 1 / (2 beta))^2 + (rejected log-ratio + 1 / (2 beta))^2, the paper's eq. 4.7 where the chosen answer
wins for certain. The paper's own answers come from the policy, round by round; these are the data's.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings(BetaSettings):
    """beta is one over eta in the paper, and by default its authors'."""

    beta: float = 0.001


METHOD = Method(Settings, trl_loss("sppo_hard"), tags=("preference",))
