"""Efficient exact optimisation on pairs: DPO with the divergence turned round (EXO, Ji et al., arXiv 2402.00856).

KL(softmax of beta * log-ratios || labels), the labels being (1 - e, e) for chosen and rejected (eq. 16).
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import SmoothedSettings, trl_loss
from mmpref.align.method import Method
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings(SmoothedSettings):
    """e is ``label_smoothing``, and by default the paper's; there is no loss without it."""

    label_smoothing: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.label_smoothing:
            raise UsageError("loss.label_smoothing is 0: EXO's labels are then at an infinite distance.", "Try 0.001.")


METHOD = Method(Settings, trl_loss("exo_pair"), tags=("preference",))
