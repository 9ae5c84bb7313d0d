"""SimPO: mean log-probability a token as the reward, a margin, and no base model (Meng et al., arXiv 2405.14734).

-log sigmoid(beta * (chosen - rejected log-probability, each averaged over its tokens) - gamma), and ``sft`` times the
chosen answers' negative log-likelihood (CPO-SimPO). Rewards in the log are beta times these averages, as those of TRL's
CPOTrainer are; the base model is only asked for how far the policy is from it, which is logged too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.align.loss_settings import BetaSettings
from mmpref.align.method import Method
from mmpref.align.rewards import mean_log_prob
from mmpref.errors import UsageError

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


@dataclass(frozen=True)
class Settings(BetaSettings):
    """By default beta is the authors' for a base that was fine-tuned on answers; gamma lies within their search.

    Args:
        gamma: what the rewards' difference should exceed.
        sft: weight of the negative log-likelihood, TRL's mean over the tokens of the chosen answers.
    """

    beta: float = 2.0
    gamma: float = 1.0
    sft: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "sft"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 0.")


def _options(settings: Settings) -> dict[str, Any]:
    trls = ["sft"] if settings.sft else []
    return {"loss_type": trls, "loss_weights": [settings.sft] * len(trls), "beta": settings.beta}


def _pairwise(settings: Settings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        difference = pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens
        return -logsigmoid(settings.beta * difference - settings.gamma)

    return loss


METHOD = Method(
    Settings,
    _options,
    pairwise=_pairwise,
    reward=lambda settings: mean_log_prob(settings.beta),
    tags=("preference",),
)
