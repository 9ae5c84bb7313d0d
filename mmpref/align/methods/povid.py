"""Distorted answers of the current policy, averaged with the data's rejected ones (POVID, arXiv 2402.11411).

At every step each token of a second rejected answer is the policy's likeliest one given a noisy image and the chosen
tokens before it. As in the paper that is an answer, scored like any other; POVID's released code gathers its tokens'
probabilities at the chosen tokens' places instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmpref.align.loss_settings import AveragedSettings, loss_options
from mmpref.align.method import Method
from mmpref.align.pair_source import Row, SampledPairs, SourceContext, with_policy_rejections
from mmpref.errors import UsageError


@dataclass(frozen=True)
class Settings(AveragedSettings):
    """gamma * loss(chosen, the data's rejected) + (1 - gamma) * loss(chosen, the distorted answer).

    Args:
        noise_steps: N of 1000 diffusion steps.
        noise_space: ``tensor`` for the paper's form, on normalised pixel values; ``pixel`` for POVID's released code.
    """

    noise_steps: int = 500
    noise_space: Literal["tensor", "pixel"] = "tensor"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise_steps <= 1000:
            raise UsageError(f"loss.noise_steps is {self.noise_steps}; it must lie between 0 and 1000.")


class DistortedSource:
    """Distorted answers that are empty or the chosen one teach nothing, and are counted: ``empty`` and ``same``."""

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        from mmpref.sampling.distortion import Distortion

        self._context, self._averaged = context, settings.averaged
        self._distort = Distortion(context.policy, settings.noise_steps, settings.noise_space, context.seed)

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        examples = [self._context.example(row, step) for row in rows]
        return with_policy_rejections(rows, examples, self._distort(examples), self._averaged)


METHOD = Method(Settings, loss_options, weights=lambda settings: settings.weights, source=DistortedSource)
