"""POVID-style distortion: the likeliest token after each chosen one, seeing a noisy image (arXiv 2402.11411)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._generated import PolicyWorker, SimilaritySettings
from mmpref.errors import UsageError
from mmpref.types import Example


@dataclass(frozen=True)
class Settings(SimilaritySettings):
    """Settings of the distortion.

    Args:
        noise_steps: N of 1000 diffusion steps.
        noise_space: ``tensor`` for the paper's form, on normalised pixel values; ``pixel`` for POVID's released code,
            on pixels in [0, 1] that wrap around, which is some 3.7 times stronger.
    """

    noise_steps: int = 500
    noise_space: Literal["tensor", "pixel"] = "tensor"

    def __post_init__(self) -> None:
        if not 0 <= self.noise_steps <= 1000:
            raise UsageError(f"builder.noise_steps is {self.noise_steps}; it must lie between 0 and 1000.")


class _Worker(PolicyWorker):
    method = "povid-distortion"

    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.sampling.distortion import Distortion

        super().__init__(context, settings)
        self.draw = Distortion(self.policy, settings.noise_steps, settings.noise_space, self.seed, self.ahead)

    def rejected_answers(self, block: Sequence[Example]) -> list[str | None]:
        return [*self.draw(block)]


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    model_settings=("similarity_model",),
    served=lambda _: "this method reads the model's logits",
)
