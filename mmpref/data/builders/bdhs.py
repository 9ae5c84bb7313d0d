"""BDHS: the model's own language bias, provoked by hiding image tokens, writes rejected answers (arXiv 2407.02477)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.data.builder import CUT_OFF, Builder, Context
from mmpref.data.builders._generated import RejectedAnswerWorker
from mmpref.sampling.settings import BdhsSettings
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.sampling.bdhs import Rejected


class BdhsWorker(RejectedAnswerWorker):
    """A block worker on the BDHS sampler.

    Args:
        method: the name in the pairs' provenance.
    """

    def __init__(self, context: Context, settings: BdhsSettings, method: str = "bdhs") -> None:
        from mmpref.sampling.bdhs import BdhsSampler

        super().__init__(context, settings)
        self.method = method
        self.sampler = BdhsSampler(self.policy, self.similarity, settings, context.seed, self.ahead)

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        return [self._pair(example, rejected) for example, rejected in zip(block, self.sampler(block), strict=True)]

    def _pair(self, example: Example, rejected: Rejected) -> Pair | Skip:
        self.counts.add({"tries": rejected.iterations, "tries_cut_off": rejected.cut_tries})
        if rejected.cut_off and not self.sampler.settings.keep_cut_off:
            return Skip(example.id, CUT_OFF)
        return Pair(example, rejected.answer, self.method, rejected.similarity, rejected.iterations, self.seed)


BUILDER = Builder(
    config=lambda: BdhsSettings,
    worker=BdhsWorker,
    model_settings=("similarity_model",),
    tries=lambda settings: (settings.iterations, settings.similarity_threshold),
)
