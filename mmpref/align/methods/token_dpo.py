"""DPO whose tokens weigh what the data say of them, or more where answers differ (after RLHF-V's, arXiv 2312.00849).

-log sigmoid(beta * (sum of w * chosen tokens' log-ratios - sum of w * rejected tokens' log-ratios)). The weights are
the columns ``chosen_weights`` and ``rejected_weights`` (`mmpref.align.weights`), whoever measured them: a human who
marked words, an annotator, or a model that sees the image and one that does not; times ``segment`` where only one of
the answers has a token, which needs no columns. That is the idea of RLHF-V's DDPO (arXiv 2312.00849), whose corrected
segments weigh 5; its division by the sum of weights is left out, so that beta means what it does in DPO. TPO (arXiv
2412.14487) computes weights anew at every step from a noisy image: that part is not here. Without weights this is DPO.
The reference is asked at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method
from mmpref.align.segments import segment_weights
from mmpref.errors import UsageError

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


@dataclass(frozen=True)
class Settings(BetaSettings):
    """DPO's loss over weighed tokens.

    Args:
        segment: weight of the tokens that only one of the answers has, outside of what both share (their beginning, and
            runs of three tokens or more), times the data's own; with 1, rows must have such weights.
    """

    segment: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.segment >= 0:
            raise UsageError(f"loss.segment is {self.segment}; it must be at least 0.")


def _pairwise(settings: Settings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        assert pairs.tokens is not None
        weights = pairs.tokens.weights
        if settings.segment != 1:
            weights = weights * segment_weights(pairs.tokens, settings.segment)
        chosen, rejected = pairs.tokens.ratios(weights)
        return -logsigmoid(settings.beta * (chosen - rejected))

    return loss


METHOD = Method(
    Settings,
    no_trl_loss,
    pairwise=_pairwise,
    weights_read=("chosen_weights", "rejected_weights"),
    needs_weights=lambda settings: settings.segment == 1,
    by_token=True,
    continues=False,  # spans are of whole answers
)
