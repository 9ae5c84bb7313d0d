"""Control: the model's answer to the same prompt about another image of the block; a contrast with another image.

A file that shows the example's own picture, saved again, is no other image, nor are images with one of the example's
among them. Reason for a skip: ``no-partner``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.data.builder import Builder
from mmpref.data.builders._generated import GenerationSettings, OtherImageWorker
from mmpref.rng import stream
from mmpref.types import Example


class _Worker(OtherImageWorker):
    method = "other-image"

    def picked(self, block: Sequence[Example], others: Sequence[Sequence[int]]) -> list[int | None]:
        return [
            places[int(stream(self.seed, example.id, 1, "partner").integers(len(places)))] if places else None
            for example, places in zip(block, others, strict=True)
        ]


BUILDER = Builder(
    config=lambda: GenerationSettings, worker=_Worker, model_settings=("similarity_model",), served=lambda _: ""
)
