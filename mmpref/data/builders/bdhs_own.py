"""BDHS of the model's own answers: chosen is one in which nobody finds a fault, rejected what BDHS makes of it.

On-policy BDHS: the paper (arXiv 2407.02477) hides image tokens to rewrite sentences of a reference that somebody else
wrote; here that reference is the policy's own. This is ours, no paper's. Answers are sampled, and the first whose every
claim is rather true (p(true) of at least ``min_truth``) is chosen; whoever is asked about claims is the annotator, by
default ``policy``, the model itself. The source's answers are not used, except that ``rho_th: auto`` is decided on
them. Reasons for a skip: ``cut-off`` (no sample came to an end), ``no-verdict`` (no sample's claims could all be
judged), ``fault`` (every judged sample has a false claim), and BDHS's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmpref.data.builder import CUT_OFF, Context
from mmpref.data.builders import bdhs
from mmpref.data.builders._checked import AnswerChecker, SplitSettings
from mmpref.data.builders._own import own_facts, whole_samples
from mmpref.errors import UsageError
from mmpref.sampling.settings import BdhsSettings, rows_of
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(BdhsSettings, SplitSettings):
    """BDHS's settings, and how own answers are found; an instruction needs ``{claim}``.

    Args:
        samples: own answers to each prompt, at most ``max_answer_tokens`` long.
        min_truth: the p(true) from which on a claim is no fault.
    """

    samples: int = 4
    min_truth: float = 0.5

    def __post_init__(self) -> None:
        BdhsSettings.__post_init__(self)
        SplitSettings.__post_init__(self)
        if self.samples < 1:
            raise UsageError(f"builder.samples is {self.samples}; it must be at least 1.")
        if self.greedy and self.samples > 1:
            raise UsageError("builder.greedy makes all samples equal.", "Leave it out, or: --set builder.samples=1")
        if not 0 <= self.min_truth <= 1:
            raise UsageError(f"builder.min_truth is {self.min_truth}; it must lie between 0 and 1.")


class _Worker(bdhs.BdhsWorker):
    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings, "bdhs-own")
        self.settings, self.model = settings, context.writer
        self.decoding = settings.decoding(settings.max_answer_tokens, self.seed)
        self.checked = AnswerChecker(context, settings, self.counts)

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        own = self.own_answers(block)
        answered = [one for one in own if isinstance(one, Example)]
        self.ahead.begin(answered)  # BDHS asks for their images again
        made = iter(super().__call__(answered) if answered else [])
        return [one if isinstance(one, Skip) else next(made) for one in own]

    def own_answers(self, block: Sequence[Example]) -> list[Example | Skip]:
        """The examples with an answer of the model's own in the reference's place."""
        from mmpref.vlm.encode import encode

        prompts, names = encode(self.policy, [self.ahead(example) for example in block]), [one.id for one in block]
        s = self.settings
        usable = whole_samples(self, prompts, names, self.decoding, s.samples, rows_of(s.batch_size))
        answers = [(example, answer) for example, each in zip(block, usable, strict=True) for answer in each]
        truths = iter(self.checked(answers))
        return [
            self._faultless(example, [(answer, next(truths)) for answer in each])
            for example, each in zip(block, usable, strict=True)
        ]

    def _faultless(self, example: Example, checked: Sequence[tuple[str, Sequence[float] | None]]) -> Example | Skip:
        if not checked:
            return Skip(example.id, CUT_OFF)
        judged = [(answer, truths) for answer, truths in checked if truths]
        if not judged:
            return Skip(example.id, "no-verdict")
        for answer, truths in judged:
            if min(truths) >= self.settings.min_truth:
                facts = own_facts(example, self.model)
                return replace(example, answer=answer, rejected=None, rejected_policy=None, facts=facts, spans={})
        return Skip(example.id, "fault")


BUILDER = replace(
    bdhs.BUILDER,
    config=lambda: Settings,
    worker=_Worker,
    needs_annotator=True,
    default_annotator="policy",
    writes_chosen=True,
    rewrites=True,
)
