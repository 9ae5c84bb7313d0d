"""DPO on log-ratios averaged over an answer's tokens: length earns nothing (Tulu 3, arXiv 2411.15124).

-log sigmoid(beta * (chosen - rejected log-ratio)), each divided by its answer's length in tokens. So are the
rewards in the log, which TRL's own trainer has as sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method
from mmpref.align.rewards import mean_log_ratio


@dataclass(frozen=True)
class Settings(BetaSettings):
    """By default beta is the authors': averages are small."""

    beta: float = 5.0


METHOD = Method(
    Settings,
    trl_loss("sigmoid_norm"),
    reward=lambda settings: mean_log_ratio(settings.beta),
    tags=("preference",),
)
