"""Noise contrastive alignment: DPO that also keeps the chosen answer likely (NCA, Chen et al., arXiv 2402.05369).

-log sigmoid(r of the chosen answer) - log sigmoid(-r of the chosen) / 2 - log sigmoid(-r of the rejected one) / 2, r
being beta times the log-ratio to the base model: each answer is judged by itself, on pairs (section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings(BetaSettings):
    """beta is alpha in the paper, and by default its authors'."""

    beta: float = 0.01


METHOD = Method(Settings, trl_loss("nca_pair"), tags=("preference",))
