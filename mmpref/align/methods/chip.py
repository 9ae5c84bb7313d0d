"""Preferences of answers, words that differ and tokens, and of the true image to noise (CHiP, arXiv 2501.16629).

-log sigmoid(beta * (m + ``visual`` * v - ``token`` * k)), as the authors' released code adds them up in one sigmoid
(LVUGAI/CHiP `llava/train/llava_trainer.py`, commit e7f5193; the paper's equations were not compared):

* m, response and segment level: the chosen answer's log-ratio less the rejected one's, in which a token outside of what
  both answers share (their beginning, and runs of three tokens or more) weighs ``segment``;
* v, visual: the chosen answer's log-ratio, so weighed, under its image less that under the image at ``noise_steps`` of
  1000 diffusion steps, drawn anew for each micro-batch;
* k, token level: the KL divergence of reference to policy summed over the rejected answer's places, less that over the
  chosen one's without a gradient (TDPO, arXiv 2404.11999).

An answer's reward in the log is beta times the sum of its so weighed log-ratio and ``token`` times its divergence: what
the sigmoid compares of two answers to one image, without v. In the authors' log the divergence has no weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.align.loss_settings import BetaSettings, no_trl_loss
from mmpref.align.method import Method
from mmpref.align.pair_source import Row, SampledPairs, SourceContext, under_other_images
from mmpref.align.preference_data import NOISE, OTHER_PAIR, ROW
from mmpref.align.rewards import Reward, scaled
from mmpref.align.segments import segment_weights
from mmpref.errors import UsageError
from mmpref.rng import stream

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise


@dataclass(frozen=True)
class Settings(BetaSettings):
    """By default the values of the authors' script for LLaVA.

    Args:
        segment: weight of the tokens that only one of the answers has; 1 leaves the segment level out.
        visual, token: weights of the two other parts.
        noise_steps: of 1000.
    """

    segment: float = 4.0
    visual: float = 1.0
    token: float = 0.1
    noise_steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("segment", "visual", "token"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 0.")
        if not 0 < self.noise_steps <= 1000:
            raise UsageError(f"loss.noise_steps is {self.noise_steps}; it must lie between 1 and 1000.")


class NoiseSource:
    """Rows with the chosen answer under its image in noise beside them."""

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        self._seed, self._steps = context.seed, settings.noise_steps

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        noise = (self._steps, stream(self._seed, step, int(rows[0][ROW]), "noise"))
        return SampledPairs([{**row, OTHER_PAIR: under_other_images(row, row["images"]), NOISE: noise} for row in rows])


def _pairwise(settings: Settings) -> Pairwise:
    def loss(pairs: PairLogProbs) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        assert pairs.other is not None
        tokens, other = pairs.tokens, pairs.other.tokens
        assert tokens is not None
        assert tokens.kl is not None
        assert other is not None
        weights = segment_weights(tokens, settings.segment)
        chosen, rejected = tokens.ratios(weights)
        alone = weights.chunk(2)[0][:, : other.mask.shape[1]]
        under_noise = (alone * (other.log_probs - other.reference).chunk(2)[0]).sum(1)
        chosen_kl, rejected_kl = tokens.kl.sum(1).chunk(2)
        margin = chosen - rejected + settings.visual * (chosen - under_noise)
        return -logsigmoid(settings.beta * (margin - settings.token * (rejected_kl - chosen_kl.detach())))

    return loss


def _reward(settings: Settings) -> Reward:
    def of(pairs: PairLogProbs) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = pairs.tokens
        assert tokens is not None
        assert tokens.kl is not None
        chosen, rejected = tokens.ratios(segment_weights(tokens, settings.segment))
        chosen_kl, rejected_kl = (settings.token * tokens.kl.sum(1)).chunk(2)
        return scaled(settings.beta, (chosen + chosen_kl, rejected + rejected_kl))

    return Reward(
        f"beta ({settings.beta:g}) times the sum of the answer's weighed log-ratio to the reference and "
        f"{settings.token:g} times its divergence from it",
        of,
    )


METHOD = Method(
    Settings,
    no_trl_loss,
    source=NoiseSource,
    keeps_answers=True,
    other_images=True,
    by_token=True,
    distributions=True,
    pairwise=_pairwise,
    reward=_reward,
)
