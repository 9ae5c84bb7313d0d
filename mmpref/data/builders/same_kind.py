"""Control: the model's answer about the block's nearest other image, by reference answers; a hard negative in kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmpref.data.builder import Builder
from mmpref.data.builders._generated import GenerationSettings, GenerationWorker, with_other_images
from mmpref.types import Example


class _Worker(GenerationWorker):
    """An image is of the same kind where its reference answer is near: a hard negative that needs no masking."""

    method = "same-kind"

    def model_inputs(self, block: Sequence[Example]) -> list[Example | None]:
        vectors = self.similarity.embed([example.answer for example in block])
        near = vectors @ vectors.T
        inputs: list[Example | None] = []
        for index, example in enumerate(block):
            places = with_other_images(example, block)
            best = max(places, key=lambda other: (near[index, other], -other), default=None)
            inputs.append(None if best is None else replace(example, images=block[best].images))
        return inputs


BUILDER = Builder(
    config=lambda: GenerationSettings, worker=_Worker, model_settings=("similarity_model",), served=lambda _: ""
)
