"""Several answers of the model to the same prompt, compared by an annotator: the best is chosen, the worst rejected.

An offline form of the paper's online-DPO (section 4). The source's own answer is not used. Reasons for a skip:
``one-answer`` (all samples that came to an end are the same), ``tie`` (nobody wins more comparisons than another) and
``no-verdict`` (every comparison is missing). ``margin`` is by how many comparisons, won less lost, the best is ahead of
the worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._annotated import AnnotatorSettings, chat_settings
from mmpref.data.builders._own import Pick, SampledSettings, SamplingWorker
from mmpref.judges.annotator import require_placeholders
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(SampledSettings, AnnotatorSettings):
    """Settings of comparing; an instruction needs ``{prompt}``, ``{first}`` and ``{second}``."""

    def __post_init__(self) -> None:
        SampledSettings.__post_init__(self)
        AnnotatorSettings.__post_init__(self)
        require_placeholders(self.instruction, "prompt", "first", "second")


class _Worker(SamplingWorker):
    method = "candidates"

    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.judges.resolve import open_annotator

        super().__init__(context, settings)
        assert context.annotator is not None
        self.annotator = open_annotator(
            context.asked(context.annotator),
            chat_settings(context, settings, 512),
            instruction=settings.instruction,
            policy=context.policy,
        )

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        from mmpref.judges.annotator import Ranking, count_verdicts, rank_answers

        samples = self.samples(block)
        ranked = rank_answers(
            self.annotator,
            [(example.images, example.prompt, answers) for example, answers in zip(block, samples, strict=True)],
        )
        self.counts.add(count_verdicts(verdict for ranking in ranked for verdict in ranking.verdicts))

        def pick(example: Example, ranking: Ranking) -> Pick | Skip:
            if not ranking.verdicts:
                return self.one_answer(example)
            if ranking.best is None or ranking.worst is None:
                missing = [verdict for verdict in ranking.verdicts if verdict.kind == "missing"]
                if len(missing) == len(ranking.verdicts):
                    return Skip(example.id, "no-verdict", missing[0].error)
                return Skip(example.id, "tie")
            return ranking.best, ranking.worst, float(ranking.margin)

        return self.pairs([(example, pick(example, ranking)) for example, ranking in zip(block, ranked, strict=True)])


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    needs_annotator=True,
    writes_chosen=True,
    model_settings=("similarity_model",),
    served=lambda _: "",
)
