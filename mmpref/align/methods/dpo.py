"""DPO: -log sigmoid(beta (log-ratio of chosen - log-ratio of rejected)), TRL's ``sigmoid`` loss (PAPER 4)."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.method import Method


@dataclass(frozen=True)
class DpoSettings:
    """Args:
    beta: strength of the pull towards the reference.
    """

    beta: float = 0.1


METHOD = Method(DpoSettings, lambda settings: {"loss_type": ["sigmoid"], "beta": settings.beta})
