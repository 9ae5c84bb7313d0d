"""OPA: the model's own answer, minimally corrected by an annotator, is chosen, and itself rejected (arXiv 2501.09695).

The first half of OPA-DPO, the data: the policy answers, and GPT-4V revises what the image does not bear out, so that
chosen answers stay near what the policy would say. There the policy is then fine-tuned on the revised answers, which
makes them on-policy, before DPO; here that is `mmpref train --method sft` on these pairs. Whoever corrects is the
annotator; the instruction is ours. The source's answers are not used. Reasons for a skip: ``cut-off``, ``empty-answer``
(the model says nothing), ``failed-rewrite`` (there is no correction), ``refused``, and ``same-as-chosen`` where nothing
had to be corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._annotated import AnnotatorSettings, chat_settings, not_rewritten
from mmpref.data.builders._generated import GenerationSettings, WritingWorker
from mmpref.data.builders._own import OwnPairsWorker, Pick
from mmpref.hub_ids import name_for_others
from mmpref.judges.annotator import require_placeholders
from mmpref.judges.resolve import POLICY
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Settings(GenerationSettings, AnnotatorSettings):
    """Settings of correction; an instruction needs ``{prompt}`` and ``{answer}``, its reply is the new answer only."""

    def __post_init__(self) -> None:
        GenerationSettings.__post_init__(self)
        AnnotatorSettings.__post_init__(self)
        require_placeholders(self.instruction, "prompt", "answer")


class _Worker(OwnPairsWorker, WritingWorker):
    method = "opa"

    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.judges.corrector import open_corrector

        super().__init__(context, settings)
        assert context.annotator is not None
        self.annotator = context.annotator
        self.corrector = open_corrector(
            context.asked(context.annotator),
            chat_settings(context, settings, 1024),
            instruction=settings.instruction,
            policy=context.policy,
        )

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        from mmpref.judges.rewriter import Rewriting, count_rewriting

        own = self._own_answers(block)
        wanted = [
            Rewriting(example.id, example.images, example.prompt, answer, self.seed)
            for example, answer in zip(block, own, strict=True)
            if isinstance(answer, str)
        ]
        replies = self.corrector.correct(wanted) if wanted else []
        self.counts.add(count_rewriting(replies))
        corrections = iter(replies)

        def pick(example: Example, answer: str | Skip) -> Pick | Skip:
            if isinstance(answer, Skip):
                return answer
            reply = next(corrections)
            if not (corrected := (reply.text or "").strip()):
                return not_rewritten(example, reply)
            return corrected, answer, None

        corrector = self.model if self.annotator == POLICY else name_for_others(self.annotator)
        return self.pairs([(row, pick(row, answer)) for row, answer in zip(block, own, strict=True)], corrector)

    def _own_answers(self, block: Sequence[Example]) -> list[str | Skip]:
        answers = self.writer.generate(block, self.decoding)
        usable = [self.usable(example, answer) for example, answer in zip(block, answers, strict=True)]
        return [
            text or Skip(example.id, "empty-answer", "the model says nothing")
            for example, text in zip(block, usable, strict=True)
        ]


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    needs_annotator=True,
    writes_chosen=True,
    corrects=True,
    model_settings=("similarity_model",),
    served=lambda _: "",
)
