"""Several answers of the model to the same prompt, compared by an annotator: the best is chosen, the worst rejected.

An offline form of the paper's online-DPO (section 4). The source's own answer is not used. Reasons for a skip:
``one-answer`` (all samples that came to an end are the same), ``tie`` (nobody wins more comparisons than another) and
``no-verdict`` (every comparison is missing). ``margin`` is by how many comparisons, won less lost, the best is ahead of
the worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._annotated import AnnotatorSettings, chat_settings
from mmpref.data.builders._generated import FAILED_REQUEST, GenerationSettings, WritingWorker
from mmpref.errors import UsageError
from mmpref.judges.annotator import require_placeholders
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class SampledSettings(GenerationSettings, AnnotatorSettings):
    """Settings of methods that sample several answers and have them judged.

    Args:
        samples: answers to each prompt.
    """

    greedy: bool = False
    samples: int = 4

    def __post_init__(self) -> None:
        if self.greedy:
            raise UsageError("builder.greedy makes all samples equal.", "Leave it out.")
        GenerationSettings.__post_init__(self)
        AnnotatorSettings.__post_init__(self)
        if self.samples < 2:
            raise UsageError(f"builder.samples is {self.samples}; it must be at least 2.")


@dataclass(frozen=True)
class Settings(SampledSettings):
    """As `SampledSettings`; an instruction needs ``{prompt}``, ``{first}`` and ``{second}``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_placeholders(self.instruction, "prompt", "first", "second")


class SamplingWorker(WritingWorker):
    """Samples answers; a subclass picks chosen and rejected."""

    def __init__(self, context: Context, settings: SampledSettings) -> None:
        super().__init__(context, settings)
        self.settings = settings
        self.model = context.endpoint[1] if context.endpoint else str(context.model)
        self._errors: dict[str, str] = {}

    def samples(self, block: Sequence[Example]) -> list[list[str]]:
        """The different answers to each prompt that say something and come to an end, as they were sampled."""
        answers = self.writer.sample(block, self.decoding, self.settings.samples)
        for example, each in zip(block, answers, strict=True):
            self._errors[example.id] = next((answer.error for answer in each if answer.error), "")
        self.counts.add({"samples_cut_off": sum(answer.cut for each in answers for answer in each)})
        return [
            list(dict.fromkeys(answer.text for answer in each if answer.text and not answer.cut)) for each in answers
        ]

    def one_answer(self, example: Example) -> Skip:
        """Why an example whose samples were these has fewer than two to tell apart."""
        if error := self._errors[example.id]:
            return Skip(example.id, FAILED_REQUEST, error)
        return Skip(example.id, "one-answer")

    def pairs(self, picked: Sequence[tuple[Example, tuple[str, str, float] | Skip]]) -> list[Pair | Skip]:
        """Pairs of the picked (chosen, rejected, margin), with their similarity."""
        texts = [pick for _, pick in picked if not isinstance(pick, Skip)]
        cosines = iter(self.similarity([pick[1] for pick in texts], [pick[0] for pick in texts]) if texts else [])
        return [
            pick if isinstance(pick, Skip) else self._pair(example, *pick, next(cosines)) for example, pick in picked
        ]

    def _pair(self, example: Example, chosen: str, rejected: str, margin: float, cosine: float) -> Pair:
        source = {name: value for name, value in example.facts.items() if name == "source"}
        facts = {**source, "chosen_model": self.model, "rejected_model": self.model, "margin": margin}
        return Pair(
            replace(example, answer=chosen, rejected=rejected, rejected_policy=None, facts=facts),
            rejected,
            self.method,
            cosine,
            1,
            self.seed,
            rejected_by="example",
        )


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

        def pick(example: Example, ranking: Ranking) -> tuple[str, str, float] | Skip:
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
