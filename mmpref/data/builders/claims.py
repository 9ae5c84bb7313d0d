"""RLAIF-V: several answers of the model, scored by how many of their claims a VLM rejects (arXiv 2405.17220).

Every answer is split into claims, and an open VLM (``--annotator``; ``policy`` is the model itself) is asked about
each. An answer's score is minus the number of claims that are rather false than true; the best is chosen, the worst
rejected, where at least ``min_margin`` lies between them. Of equals the first sampled counts. ``margin`` is the
difference. The authors use 10 samples at temperature 0.7, two Llama-3-8B for splitting and asking, and up to two pairs
a prompt; here samples are of temperature 1 unless told otherwise, ``splitter`` names who splits (sentences by default,
which needs nobody), and a row gives one pair. Reasons for a skip: ``one-answer``, ``tie`` (the difference is too small)
and ``no-verdict`` (fewer than two answers could be scored: a claim that is missing leaves its answer out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmpref.data.builder import Context
from mmpref.data.builders import candidates
from mmpref.data.builders._checked import AnswerChecker, SplitSettings
from mmpref.data.builders._own import Pick, SampledSettings, SamplingWorker
from mmpref.errors import UsageError
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(SampledSettings, SplitSettings):
    """Settings of scoring by claims; an instruction needs ``{claim}`` and must be answered by yes or no.

    Args:
        min_margin: rejected claims between chosen and rejected.
    """

    samples: int = 10
    min_margin: int = 1

    def __post_init__(self) -> None:
        SampledSettings.__post_init__(self)
        SplitSettings.__post_init__(self)
        if self.min_margin < 1:
            raise UsageError(f"builder.min_margin is {self.min_margin}; it must be at least 1.")


class _Worker(SamplingWorker):
    method = "claims"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.margin = settings.min_margin
        self.checked = AnswerChecker(context, settings, self.counts)

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        samples = self.samples(block)
        answers = [(example, answer) for example, each in zip(block, samples, strict=True) for answer in each]
        checked = iter(self.checked(answers))
        return self.pairs(
            [
                (example, self._pick(example, [(answer, _score(next(checked))) for answer in each]))
                for example, each in zip(block, samples, strict=True)
            ]
        )

    def _pick(self, example: Example, scored: Sequence[tuple[str, int | None]]) -> Pick | Skip:
        if len(scored) < 2:
            return self.one_answer(example)
        known = [(score, answer) for answer, score in scored if score is not None]
        if len(known) < 2:
            return Skip(example.id, "no-verdict")
        best, worst = (most(known, key=lambda one: one[0]) for most in (max, min))
        margin = best[0] - worst[0]
        return Skip(example.id, "tie") if margin < self.margin else (best[1], worst[1], float(margin))


def _score(truths: Sequence[float] | None) -> int | None:
    """Minus the claims that are rather false; None where any is missing."""
    return None if truths is None else -sum(true < 0.5 for true in truths)


BUILDER = replace(candidates.BUILDER, config=lambda: Settings, worker=_Worker)
