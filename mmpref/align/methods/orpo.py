"""ORPO: fine-tuning on the chosen answers with the odds against the rejected ones (Hong et al., arXiv 2403.07691).

The chosen answers' negative log-likelihood (TRL's mean over their tokens, the prompt left out) and beta times
-log sigmoid(log odds of chosen to rejected), of probabilities that are averaged over tokens in the logarithm. The base
model has no part in it, and is only asked for how far the policy is from it, which is logged. Rewards in the log are
those of TRL's ORPOTrainer: beta times log-probabilities averaged over tokens, of which the odds are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, trl_loss
from mmpref.align.method import Method
from mmpref.align.rewards import mean_log_prob

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


def _pairwise(settings: BetaSettings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        chosen = _log_odds(pairs.chosen / pairs.chosen_tokens)
        rejected = _log_odds(pairs.rejected / pairs.rejected_tokens)
        return -settings.beta * logsigmoid(chosen - rejected)

    return loss


def _log_odds(log_probs: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)) of log p [B]; of certain answers that of a p just below 1, which has odds."""
    log_probs = log_probs.float().clamp(max=-1e-6)
    return log_probs - log_probs.expm1().neg().log()


METHOD = Method(
    BetaSettings,
    trl_loss("sft"),
    pairwise=_pairwise,
    reward=lambda settings: mean_log_prob(settings.beta),
    tags=("preference",),
)
