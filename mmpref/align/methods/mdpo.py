"""mDPO, multimodal: also prefers the chosen answer under its image to the same under a part of it (arXiv 2406.11839).

DPO, a conditional DPO (the chosen answer with the whole image against the chosen answer with a random crop of it), and
an anchor that keeps the chosen answer from becoming less likely. Crops are sampled anew at every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.align.method import Method
from mmpref.align.pair_source import Row, SampledPairs, SourceContext, under_other_images
from mmpref.align.preference_data import OTHER_PAIR, ROW
from mmpref.errors import UsageError
from mmpref.rng import stream

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

    from mmpref.align.loss_settings import Terms


@dataclass(frozen=True)
class Settings:
    """-log sigmoid(beta * margin) of both margins, and -log sigmoid(beta * chosen log-ratio - delta) as the anchor.

    Args:
        beta: how strongly the policy is held to the base model.
        delta: what the anchor wants the chosen answer's reward to exceed. The authors' is 0.
        conditional, anchor: weights of the two terms beside DPO's; the authors' are 1.
        least, most: share of an image's area that a crop keeps. The authors' are 0.01 and 0.2.
    """

    beta: float = 0.1
    delta: float = 0.0
    conditional: float = 1.0
    anchor: float = 1.0
    least: float = 0.01
    most: float = 0.2

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.")
        if not 0 < self.least <= self.most <= 1:
            raise UsageError(f"loss.least and loss.most are {self.least} and {self.most}; they are shares of an area.")
        for name in ("conditional", "anchor"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 0.")


class CropSource:
    """Rows with a part of each image beside it, stretched to the image's own size."""

    def __init__(self, context: SourceContext, settings: Settings) -> None:
        self._seed, self._settings = context.seed, settings

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        settings = self._settings
        pairs: list[Row] = []
        for row in rows:
            generator = stream(self._seed, step, int(row[ROW]), "crop")
            crops = [crop(image, settings.least, settings.most, generator) for image in row["images"]]
            pairs.append({**row, OTHER_PAIR: under_other_images(row, crops)})
        return SampledPairs(pairs)


def crop(image: Image.Image, least: float, most: float, generator: np.random.Generator) -> Image.Image:
    """A random part of an image, stretched to its size: torchvision's `RandomResizedCrop` with its aspect ratios."""
    width, height = image.size
    area = width * height * generator.uniform(least, most)
    ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
    wide = min(width, max(1, round(math.sqrt(area * ratio))))
    high = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = int(generator.integers(width - wide + 1)), int(generator.integers(height - high + 1))
    return image.crop((left, top, left + wide, top + high)).resize((width, height))


def _terms(settings: Settings) -> Terms:
    def terms(chosen: torch.Tensor, cropped: torch.Tensor) -> dict[str, torch.Tensor]:
        from torch.nn.functional import logsigmoid

        beta = settings.beta
        return {
            "conditional": settings.conditional * -logsigmoid(beta * (chosen - cropped)).mean(),
            "anchor": settings.anchor * -logsigmoid(beta * chosen - settings.delta).mean(),
        }

    return terms


def _options(settings: Settings) -> dict[str, Any]:
    return {"loss_type": ["sigmoid"], "beta": settings.beta}


METHOD = Method(Settings, _options, source=CropSource, keeps_answers=True, other_images=True, terms=_terms)
