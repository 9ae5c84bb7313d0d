"""Binary classifier optimisation: each answer told good or bad by itself (BCO, Jung et al., arXiv 2404.04656).

-log sigmoid(beta * chosen log-ratio) - log sigmoid(-beta * rejected log-ratio). This is TRL's loss of that name:
without the running mean of rewards that its authors subtract.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings(BetaSettings):
    """By default beta is the authors'."""

    beta: float = 0.01


METHOD = Method(Settings, trl_loss("bco_pair"), tags=("preference",))
