"""KTO: each answer told good or bad by itself, measured from the policy's drift (arXiv 2402.01306).

``desirable`` * (1 - sigmoid(beta * (chosen log-ratio - z))) and ``undesirable`` * (1 - sigmoid(beta * (z - rejected
log-ratio))), averaged; z is the mean log-ratio of answers to other rows in the micro-batch of all processes, at least
0 and without a gradient (eq. 7). Each row's such answer is one to the next row of the data, and goes through the model
beside its own. Behind a context it is a continuation, elsewhere a whole answer: of the next row of that kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method
from mmpref.errors import UsageError

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


@dataclass(frozen=True)
class Settings(BetaSettings):
    """The authors' values where there are as many good answers as bad ones, as there are here.

    Args:
        desirable, undesirable: weights of the chosen answers' loss and of the rejected ones'.
    """

    desirable: float = 1.0
    undesirable: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("desirable", "undesirable"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 0.")


def _pairwise(settings: Settings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        assert pairs.mismatched is not None
        drift = pairs.mismatched.clamp(min=0)
        chosen = 1 - (settings.beta * (pairs.chosen_ratio - drift)).sigmoid()
        rejected = 1 - (settings.beta * (drift - pairs.rejected_ratio)).sigmoid()
        return (settings.desirable * chosen + settings.undesirable * rejected) / 2

    return loss


METHOD = Method(Settings, no_trl_loss, pairwise=_pairwise, mismatched=True, tags=("preference",))
