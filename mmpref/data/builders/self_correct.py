"""TPR: each part of an answer is said again by the model; best and worst by p(true) make the pair (arXiv 2411.17265).

Of TPR (topic-level preference rewriting) are: alternatives to each part of an answer that the policy itself writes
again; their order by how probable the reference model finds them true; an answer put together of the best ones as the
chosen, of worse ones as the rejected; and an order from easy to hard. Ours: a topic is a sentence of the policy's own
answer (the paper has a language model list and cluster facts), written again behind what stands before it in that
answer (the paper asks a question about each fact); sentences are put together as they are (the paper has a language
model rewrite the answer), so that two may say the same. Whoever tells p(true) is the annotator, by default ``policy``.
From easy to hard: ``hardness``, by which rejected sentences are taken from the worst (0) to the next to the best (1),
so that builds of growing hardness make the curriculum; ``margin`` (the mean over sentences of p(true), chosen less
rejected) orders the pairs of one. The source's answers are not used. Reasons for a skip: ``cut-off`` and ``tie`` (no
sentence has a form that is better than another by ``min_margin``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmpref.data.builder import CUT_OFF, Builder, Context
from mmpref.data.builders._checked import CheckedSettings, ClaimChecker
from mmpref.data.builders._generated import PolicyWorker
from mmpref.data.builders._own import OwnPairsWorker, Pick, SampledSettings, whole_samples
from mmpref.errors import UsageError
from mmpref.sampling.settings import rows_of
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(SampledSettings, CheckedSettings):
    """Settings of TPR by sentences; an instruction needs ``{claim}`` and must be answered by yes or no.

    Args:
        samples: times that each sentence is written again.
        max_sentence_tokens: bound on one of these.
        min_margin: p(true) by which the best form of a sentence must be ahead of the rejected one; else the sentence is
            the same in both answers.
        hardness: 0 rejects the worst form of each sentence, 1 that next to the best, others lie between.
    """

    max_sentence_tokens: int = 96
    min_margin: float = 0.1
    hardness: float = 0.0

    def __post_init__(self) -> None:
        SampledSettings.__post_init__(self)
        CheckedSettings.__post_init__(self)
        if self.max_sentence_tokens < 1:
            raise UsageError(f"builder.max_sentence_tokens is {self.max_sentence_tokens}; it must be at least 1.")
        for name in ("min_margin", "hardness"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"builder.{name} is {getattr(self, name)}; it must lie between 0 and 1.")


class _Worker(OwnPairsWorker, PolicyWorker):
    method = "self-correct"

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.settings, self.width = settings, rows_of(settings.batch_size)
        self.decoding = settings.decoding(settings.max_answer_tokens, self.seed)
        self.check = ClaimChecker(context, settings, self.counts)

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        forms = self._forms(block)
        asked = [
            (example, form.strip())
            for example, sentences in zip(block, forms, strict=True)
            for sentence in sentences
            if len(sentence) > 1  # with nothing to choose between, nobody is asked
            for form in sentence
        ]
        truths = iter(self.check(asked))
        picked = [self._pick(example, sentences, truths) for example, sentences in zip(block, forms, strict=True)]
        return self.pairs(list(zip(block, picked, strict=True)))

    def _forms(self, block: Sequence[Example]) -> list[list[list[str]]]:
        """Of each example's own answer, the forms of its sentences; none where it was cut off."""
        from mmpref.sampling.resample import Draft, resample_sentences
        from mmpref.vlm.encode import encode

        s, names = self.settings, [example.id for example in block]
        prompts = encode(self.policy, [self.ahead(example) for example in block])
        own = whole_samples(self, prompts, names, self.decoding, 1, self.width)
        drafts = [
            Draft(example, prompt, answer[0])
            for example, prompt, answer in zip(block, prompts, own, strict=True)
            if answer
        ]
        decoding = replace(self.decoding, max_new_tokens=s.max_sentence_tokens)
        forms = iter(resample_sentences(self.policy, drafts, decoding, s.samples, width=self.width))
        return [next(forms) if answer else [] for answer in own]

    def _pick(
        self, example: Example, sentences: Sequence[Sequence[str]], truths: Iterator[float | None]
    ) -> Pick | Skip:
        if not sentences:
            return Skip(example.id, CUT_OFF)
        chosen, rejected, margins = "", "", []
        for forms in sentences:
            rated = [(true, form) for form in forms if len(forms) > 1 and (true := next(truths)) is not None]
            best, worse = self._ordered(rated)
            chosen += best or forms[0]
            rejected += worse[1] if worse else best or forms[0]
            margins.append(worse[0] if worse else 0.0)
        if not any(margins):
            return Skip(example.id, "tie")
        return chosen.rstrip(), rejected.rstrip(), sum(margins) / len(margins)

    def _ordered(self, rated: Sequence[tuple[float, str]]) -> tuple[str | None, tuple[float, str] | None]:
        """The best form; and how far behind it the one that is rejected is, and that one."""
        if not rated:
            return None, None
        best = max(rated, key=lambda one: one[0])
        behind = [(best[0] - true, form) for true, form in rated if true < best[0]]
        worse = sorted((one for one in behind if one[0] >= self.settings.min_margin), key=lambda one: -one[0])
        return best[1], worse[round(self.settings.hardness * (len(worse) - 1))] if worse else None


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    needs_annotator=True,
    default_annotator="policy",
    writes_chosen=True,
    model_settings=("similarity_model",),
)
