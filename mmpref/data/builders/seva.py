"""SeVa: the model's greedy answer to the same prompt under image noise (Zhu et al., 2024, arXiv 2404.10501)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._generated import GenerationSettings, WritingWorker
from mmpref.errors import UsageError
from mmpref.rng import stream
from mmpref.types import Example, Skip


@dataclass(frozen=True)
class Settings(GenerationSettings):
    """Settings of SeVa.

    Args:
        noise_steps: N of 1000 diffusion steps on the normalised pixel values; the authors use 500 and 800.
    """

    noise_steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise_steps <= 1000:
            raise UsageError(f"builder.noise_steps is {self.noise_steps}; it must lie between 0 and 1000.")


class _Worker(WritingWorker):
    method = "seva"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.noise_steps = settings.noise_steps

    def rejected_answers(self, block: Sequence[Example]) -> list[str | Skip]:
        generators = [stream(self.seed, example.id, 1, "noise") for example in block]
        return self.generate(block, (self.noise_steps, generators) if self.noise_steps else None)


def _needs_the_model(settings: Settings) -> str:
    noisy = "this method puts noise on the pixel values that the model sees (builder.noise_steps above 0)"
    return noisy if settings.noise_steps else ""


BUILDER = Builder(
    config=lambda: Settings, worker=_Worker, model_settings=("similarity_model",), served=_needs_the_model
)
