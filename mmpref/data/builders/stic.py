"""STIC: answers to a prompt that invites hallucinations, or to a spoiled image (Deng et al., 2024, arXiv 2405.19716).

Half of the examples keep their image and get a misleading prompt; the others keep their prompt and get an image shrunk
to a few pixels or with shifted colours, as the paper has it (its released code forgets to pass the spoiled image). The
chosen answer is the source's own, where STIC writes one itself under a long prompt. The prompts are worded anew.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._generated import GenerationSettings, GenerationWorker
from mmpref.errors import UsageError
from mmpref.rng import stream
from mmpref.types import Example, ImageData, Message

if TYPE_CHECKING:
    import numpy as np

MISLEADING = (
    "Tell what is in the picture, and add objects that would usually be found in such a place.",
    "Describe the picture as if there were more in it than one can see.",
    "Write about the scene, and make up further things that might stand just beside the visible ones.",
    "Describe the picture and guess freely at what is hidden from view.",
    "Tell a lively story of what everything in this picture is doing, real or imagined.",
    "List what you see here together with what you would expect to see here.",
    "Describe the picture with invented details of colours, numbers and places.",
    "Say what the picture shows, and mention a few things that it does not.",
)


@dataclass(frozen=True)
class Settings(GenerationSettings):
    """Settings of STIC.

    Args:
        misleading_share: of the examples get a misleading prompt, drawn for each.
        low_resolution: pixels of the longer side of a shrunk image.
    """

    misleading_share: float = 0.5
    low_resolution: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.misleading_share <= 1:
            raise UsageError(f"builder.misleading_share is {self.misleading_share}; it must lie between 0 and 1.")
        if self.low_resolution < 1:
            raise UsageError(f"builder.low_resolution is {self.low_resolution}; it must be at least 1.")


class _Worker(GenerationWorker):
    method = "stic"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.settings = settings

    def model_inputs(self, block: Sequence[Example]) -> list[Example | None]:
        return [self._spoiled(example) for example in block]

    def _spoiled(self, example: Example) -> Example:
        draws = stream(self.seed, example.id, 1, "stic")
        if draws.random() < self.settings.misleading_share:
            prompt = MISLEADING[int(draws.integers(len(MISLEADING)))]
            return replace(example, prompt=(*example.prompt[:-1], Message("user", prompt)))
        return replace(
            example, images=tuple(spoiled(image, self.settings.low_resolution, draws) for image in example.images)
        )


def spoiled(image: ImageData, low_resolution: int, draws: np.random.Generator) -> ImageData:
    """The image shrunk until its longer side has so many pixels, or with shifted brightness, contrast and colours.

    Raises:
        ImageError: it cannot be decoded.
    """
    from PIL import Image, ImageEnhance

    from mmpref.images import decode

    picture = decode(image)
    if draws.random() < 0.5:
        scale = low_resolution / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height)).resize(picture.size, Image.Resampling.BILINEAR)
    else:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhance(picture).enhance(draws.uniform(0.2, 1.8))
        hue, saturation, value = picture.convert("HSV").split()
        shift = int(draws.integers(256))
        picture = Image.merge("HSV", (hue.point(lambda v: (v + shift) % 256), saturation, value)).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return ImageData(buffer.getvalue(), image.name)


BUILDER = Builder(config=lambda: Settings, worker=_Worker, model_settings=("similarity_model",), served=lambda _: "")
