"""DPO that presses a rejected answer down by how grave its mistakes are (HSA-DPO, Xiao et al., arXiv 2404.14233).

-log sigmoid(beta * (chosen log-ratio - severity * rejected log-ratio)), severity being a column of the data
(`mmpref.align.weights`): ``--columns severity=rejected_score`` for the authors' own rows. That is their released loss
(Mr-Loevan/HSA-DPO `base_dpo_trainer.py`, commit dbb76cd); the paper's equation was not compared with it. Rewards in the
log are what the loss compares: the rejected answer's has its severity, which theirs leave out there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method
from mmpref.align.rewards import Reward, scaled

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


def _graded(pairs: PairLogProbs) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-ratios [B] of chosen answers, and of rejected ones times severity."""
    severity = 1.0 if pairs.weights is None else pairs.weights
    return pairs.chosen_ratio, severity * pairs.rejected_ratio


def _pairwise(settings: BetaSettings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        chosen, rejected = _graded(pairs)
        return -logsigmoid(settings.beta * (chosen - rejected))

    return loss


def _reward(settings: BetaSettings) -> Reward:
    return Reward(
        f"beta ({settings.beta:g}) times the answer's log-ratio to the reference, and times severity of a rejected one",
        lambda pairs: scaled(settings.beta, _graded(pairs)),
    )


METHOD = Method(BetaSettings, no_trl_loss, pairwise=_pairwise, reward=_reward, weights_read=("severity",))
