"""DPO with a beta a pair, larger where answers are easy to tell apart (DAMA, arXiv 2502.01943, its data-aware half).

-log sigmoid(beta_i * (chosen log-ratio - rejected log-ratio)) with beta_i = beta * sigmoid(d_i) / sigmoid(mean d), at
least 0.001; d is the column ``hardness`` (`mmpref.align.weights`), how much better the chosen answer fits the image: in
the paper CLIP's similarities, which mmpref does not compute. The mean is over all rows that are trained on. This is
algorithm 1's alpha_D, and injadlu/DAMA's `train_dpo.py` without what follows the policy: the factor alpha_M from the
running mean of margins, and the share of each batch that is left out at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method
from mmpref.align.rewards import Reward, scaled

if TYPE_CHECKING:
    import numpy as np
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise

_LEAST = 1e-3


def _weigh(settings: BetaSettings, hardness: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    factors: np.ndarray = expit(hardness) / expit(hardness.mean())
    return factors


def _betas(settings: BetaSettings, pairs: PairLogProbs) -> float | torch.Tensor:
    """That of each pair."""
    factors = 1.0 if pairs.weights is None else pairs.weights.clamp(min=_LEAST / settings.beta)
    return settings.beta * factors


def _pairwise(settings: BetaSettings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        return -logsigmoid(_betas(settings, pairs) * pairs.margin)

    return loss


def _reward(settings: BetaSettings) -> Reward:
    return Reward(
        "the pair's own beta times the answer's log-ratio to the reference",
        lambda pairs: scaled(_betas(settings, pairs), (pairs.chosen_ratio, pairs.rejected_ratio)),
    )


METHOD = Method(BetaSettings, no_trl_loss, pairwise=_pairwise, reward=_reward, weights_read=("hardness",), weigh=_weigh)
