"""C-DPO: pairs that continue a context, of which the loss is as little as of the prompt (SENTINEL, arXiv 2507.12455).

A pair is two next sentences behind the same beginning of an answer, such as `build-dataset --method sentinel` makes
them: prompts end in that beginning, a turn of the assistant's, and chosen and rejected go on from there. Some row must
be such a pair; in those of an answer's first sentence the context is empty, and the prompt ends in the question. A
sentence is no whole answer, so what would end one (EOS) is no part of the loss, as in the authors' code for
LLaMA-Factory.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method


@dataclass(frozen=True)
class Settings(BetaSettings):
    """DPO's loss on the sentences.

    Args:
        ends: also of what ends an answer, as in `dpo` on the same pairs: the model then learns to end answers behind
            chosen sentences.
    """

    ends: bool = False


METHOD = Method(
    Settings, trl_loss("sigmoid"), needs_context=True, ends=lambda settings: settings.ends, tags=("preference", "dpo")
)
