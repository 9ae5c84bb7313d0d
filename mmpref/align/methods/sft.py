"""Control: the chosen answers alone (SFT), no contrast; every claim about preferences needs it.

The loss is TRL's, the mean over the tokens of a batch's chosen answers. Rejected answers have no part in it; that they
are read along, by the same pass, shows in the log what plain fine-tuning does to margins and rejected answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings:
    """There are none: the base model has no part in the loss."""


METHOD = Method(Settings, lambda _: {"loss_type": ["sft"]}, tags=())
