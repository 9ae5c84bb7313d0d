"""Control: the model's answer about the block's nearest other image, by reference answers; a hard negative in kind.

A file that shows the example's own picture, saved again, is no other image, nor are images with one of the example's
among them. Reason for a skip: ``no-partner``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.data.builder import Builder
from mmpref.data.builders._generated import GenerationSettings, OtherImageWorker
from mmpref.types import Example


class _Worker(OtherImageWorker):
    """An image is of the same kind where its reference answer is near: a hard negative that needs no masking."""

    method = "same-kind"

    def picked(self, block: Sequence[Example], others: Sequence[Sequence[int]]) -> list[int | None]:
        vectors = self.similarity.embed([example.answer for example in block])
        near = vectors @ vectors.T
        picked: list[int | None] = []
        for index, places in enumerate(others):
            picked.append(max(places, key=lambda other: (near[index, other], -other), default=None))
        return picked


BUILDER = Builder(
    config=lambda: GenerationSettings, worker=_Worker, model_settings=("similarity_model",), served=lambda _: ""
)
