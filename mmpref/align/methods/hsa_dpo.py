"""DPO that presses a rejected answer down by how grave its mistakes are (HSA-DPO, Xiao et al., arXiv 2404.14233).

-log sigmoid(beta * (chosen log-ratio - severity * rejected log-ratio)), severity being a column of the data
(`mmpref.align.weights`): ``--columns severity=rejected_score`` for the authors' own rows. That is their released loss
(Mr-Loevan/HSA-DPO `base_dpo_trainer.py`, commit dbb76cd); the paper's equation was not compared with it. Rewards in the
log are without severities, as theirs are.
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

        severity = 1.0 if pairs.weights is None else pairs.weights
        return -logsigmoid(settings.beta * (pairs.chosen_ratio - severity * pairs.rejected_ratio))

    return loss


METHOD = Method(BetaSettings, no_trl_loss, pairwise=_pairwise, weights_read=("severity",))
