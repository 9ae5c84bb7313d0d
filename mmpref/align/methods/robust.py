"""DPO for labels of which a known share is wrong, unbiased by them (Chowdhury et al., arXiv 2403.00409).

((1 - e) * DPO's loss - e * DPO's loss of the swapped pair) / (1 - 2 e), e being ``label_smoothing`` (section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import SmoothedSettings, trl_loss
from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings(SmoothedSettings):
    """By default e is the one of the paper's experiments."""

    label_smoothing: float = 0.1


METHOD = Method(Settings, trl_loss("robust"), tags=("preference",))
