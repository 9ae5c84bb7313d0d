"""Control: the model's answer to the same prompt about another image of the block; a contrast with another image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmpref.data.builder import Builder
from mmpref.data.builders._generated import GenerationSettings, GenerationWorker, with_other_images
from mmpref.rng import stream
from mmpref.types import Example


class _Worker(GenerationWorker):
    method = "other-image"

    def model_inputs(self, block: Sequence[Example]) -> list[Example | None]:
        return [self._another(example, block) for example in block]

    def _another(self, example: Example, block: Sequence[Example]) -> Example | None:
        """With other images, so that nothing but their content differs."""
        places = with_other_images(example, block)
        if not places:
            return None
        chosen = block[places[int(stream(self.seed, example.id, 1, "partner").integers(len(places)))]]
        return replace(example, images=chosen.images)


BUILDER = Builder(
    config=lambda: GenerationSettings, worker=_Worker, model_settings=("similarity_model",), served=lambda _: ""
)
