"""BDHS: the model's own language bias, provoked by hiding image tokens, writes rejected answers (arXiv 2407.02477)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.data.builder import Builder, Context
from mmpref.data.stats import CUT_OFF, SAME
from mmpref.sampling.settings import BdhsSettings
from mmpref.tables.conversations import same_answer
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.sampling.bdhs import Rejected


class BdhsWorker:
    """A block worker on the BDHS sampler.

    Args:
        method: the name in the pairs' provenance.
    """

    def __init__(self, context: Context, settings: BdhsSettings, method: str = "bdhs") -> None:
        from mmpref.sampling.bdhs import BdhsSampler
        from mmpref.sampling.similarity import load_similarity
        from mmpref.vlm.preprocess import Ahead

        self.method = method
        policy = context.policy()
        self.ahead = Ahead(policy.prompter, context.preprocessors(policy.device.type))
        similarity = load_similarity(settings.similarity_model)
        self.sampler = BdhsSampler(policy, similarity, settings, context.seed, self.ahead)
        self._tries = {"tries": 0, "tries_cut_off": 0}

    def begin(self, block: Sequence[Example]) -> None:
        self.ahead.begin(block)

    def close(self) -> None:
        self.ahead.close()

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        return [self._outcome(example, made) for example, made in zip(block, self.sampler(block), strict=True)]

    def notes(self) -> dict[str, float]:
        """Tries since last asked, and those of them that a bound on length cut off."""
        tries, self._tries = self._tries, {"tries": 0, "tries_cut_off": 0}
        return {**tries}

    def _outcome(self, example: Example, made: Rejected) -> Pair | Skip:
        self._tries["tries"] += made.iterations
        self._tries["tries_cut_off"] += made.cut_tries
        if made.cut_off and not self.sampler.settings.keep_cut_off:
            return Skip(example.id, CUT_OFF)
        if not made.answer.strip():
            return Skip(example.id, "empty-rejected")
        if same_answer(made.answer, example.answer):
            return Skip(example.id, SAME)
        return Pair(example, made.answer, self.method, made.similarity, made.iterations, self.sampler.seed)


BUILDER = Builder(config=lambda: BdhsSettings, worker=BdhsWorker)
