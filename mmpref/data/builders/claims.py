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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmpref.data.builder import Context
from mmpref.data.builders import candidates
from mmpref.data.builders._annotated import chat_settings
from mmpref.data.builders.candidates import SampledSettings, SamplingWorker
from mmpref.errors import UsageError
from mmpref.judges.annotator import require_placeholders
from mmpref.types import Example, Message, Pair, Skip

if TYPE_CHECKING:
    Splitter = Callable[[Sequence[tuple[tuple[Message, ...], str]]], list[list[str] | None]]

SENTENCES = "sentences"


@dataclass(frozen=True)
class Settings(SampledSettings):
    """Settings of scoring by claims; an instruction needs ``{claim}`` and must be answered by yes or no.

    Args:
        splitter: ``sentences``, or who lists the facts of an answer: URL#MODEL, a local model, or ``policy``.
        min_margin: rejected claims between chosen and rejected.
    """

    samples: int = 10
    splitter: str = SENTENCES
    min_margin: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_placeholders(self.instruction, "claim")
        if self.min_margin < 1:
            raise UsageError(f"builder.min_margin is {self.min_margin}; it must be at least 1.")


class _Worker(SamplingWorker):
    method = "claims"

    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.judges.claims import CHECK_TOKENS, open_checker

        super().__init__(context, settings)
        assert context.annotator is not None
        self.margin = settings.min_margin
        self.checker = open_checker(
            context.asked(context.annotator),
            chat_settings(context, settings, CHECK_TOKENS),
            instruction=settings.instruction,
            policy=context.policy,
        )
        self.split = self._splitter(context, settings)

    def _splitter(self, context: Context, settings: Settings) -> Splitter:
        if settings.splitter == SENTENCES:
            return _sentences
        from mmpref.judges.chat import count_usage
        from mmpref.judges.claims import ChatSplitter
        from mmpref.judges.resolve import open_chat

        who = context.asked(settings.splitter)
        listing = ChatSplitter(open_chat(who, chat_settings(context, settings, 1024), context.policy))

        def split(answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[list[str] | None]:
            replies = listing(answers)
            self.counts.add(count_usage(reply for _, reply in replies))
            return [facts for facts, _ in replies]

        return split

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        samples = self.samples(block)
        answers = [(example, answer) for example, each in zip(block, samples, strict=True) for answer in each]
        scores = iter(self._scores(answers))
        return self.pairs(
            [
                (example, self._pick(example, [(answer, next(scores)) for answer in each]))
                for example, each in zip(block, samples, strict=True)
            ]
        )

    def _scores(self, answers: Sequence[tuple[Example, str]]) -> list[int | None]:
        """Minus the rejected claims of each answer; None where a claim, or what the claims are, is missing."""
        from mmpref.judges.claims import Claim

        claims_of_answers = self.split([(example.prompt, answer) for example, answer in answers])
        claims = [
            Claim(example.images, claim)
            for (example, _), answer_claims in zip(answers, claims_of_answers, strict=True)
            for claim in answer_claims or ()
        ]
        findings = self.checker.check(claims) if claims else []
        for finding in findings:
            true = finding.probability
            counted = "missing" if true is None else "rejected" if true < 0.5 else "accepted"
            self.counts.add({"claims": 1, counted: 1, **finding.usage})
        remaining = iter(findings)
        scores: list[int | None] = []
        for answer_claims in claims_of_answers:
            truths = [next(remaining).probability for _ in answer_claims or ()]
            known = [true for true in truths if true is not None]
            whole = answer_claims is not None and len(known) == len(truths)
            scores.append(-sum(true < 0.5 for true in known) if whole else None)
        return scores

    def _pick(self, example: Example, scored: Sequence[tuple[str, int | None]]) -> tuple[str, str, float] | Skip:
        if len(scored) < 2:
            return self.one_answer(example)
        known = [(answer, score) for answer, score in scored if score is not None]
        if len(known) < 2:
            return Skip(example.id, "no-verdict")
        best, worst = max(known, key=_score), min(known, key=_score)
        margin = best[1] - worst[1]
        return Skip(example.id, "tie") if margin < self.margin else (best[0], worst[0], float(margin))


def _score(scored: tuple[str, int]) -> int:
    return scored[1]


def _sentences(answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[list[str] | None]:
    from mmpref.sampling.sentences import split

    return [[sentence.strip() for sentence in split(answer)] for _, answer in answers]


BUILDER = replace(candidates.BUILDER, config=lambda: Settings, worker=_Worker)
