"""DPO whose tokens weigh what the data say of them: wrong words more than the rest.

-log sigmoid(beta * (sum of w * chosen tokens' log-ratios - sum of w * rejected tokens' log-ratios)). The weights are
the columns ``chosen_weights`` and ``rejected_weights`` (`mmpref.align.weights`), whoever measured them: a human who
marked words (RLHF-V's DDPO, arXiv 2312.00849, weighs corrected segments more), an annotator, or a model that sees the
image and one that does not. TPO (arXiv 2412.14487) computes such weights anew at every step from a noisy image: that
part is not here. Without weights this is DPO. The reference is asked at every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


def _pairwise(settings: BetaSettings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        assert pairs.tokens is not None
        chosen, rejected = pairs.tokens.ratios(pairs.tokens.weights)
        return -logsigmoid(settings.beta * (chosen - rejected))

    return loss


METHOD = Method(
    BetaSettings,
    no_trl_loss,
    pairwise=_pairwise,
    weights_read=("chosen_weights", "rejected_weights"),
    by_token=True,
    continues=False,  # spans are of whole answers
)
