"""What the methods share whose answers, chosen and rejected, are the run's model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmpref.data.builder import Context
from mmpref.data.builders._generated import (
    FAILED_REQUEST,
    GenerationSettings,
    PolicyWorker,
    RejectedAnswerWorker,
    WritingWorker,
)
from mmpref.errors import UsageError
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.generate import Answer

Pick = tuple[str, str, float | None]
"""Chosen, rejected, and by how much the one is better; None where nobody says."""


@dataclass(frozen=True)
class SampledSettings(GenerationSettings):
    """Settings of methods that sample several answers.

    Args:
        samples: answers to each prompt.
    """

    greedy: bool = False
    samples: int = 4

    def __post_init__(self) -> None:
        if self.greedy:
            raise UsageError("builder.greedy makes all samples equal.", "Leave it out.")
        super().__post_init__()
        if self.samples < 2:
            raise UsageError(f"builder.samples is {self.samples}; it must be at least 2.")


def own_facts(example: Example, model: str) -> dict[str, str | float]:
    """The facts of a pair whose answers are both a model's: what the source says of its own answers is left out."""
    source = {name: value for name, value in example.facts.items() if name == "source"}
    return {**source, "chosen_model": model, "rejected_model": model}


def whole_samples(
    worker: PolicyWorker,
    prompts: Sequence[EncodedPrompt],
    names: Sequence[str],
    decoding: Decoding,
    samples: int,
    width: int,
) -> list[list[str]]:
    """The different answers to each prompt that say something and come to an end, as they were sampled.

    Args:
        worker: whose policy writes; it counts ``samples_cut_off``.
        names: of the examples.
        width: branches decoded together.
    """
    from mmpref.sampling.answers import sample_answers

    answers = sample_answers(worker.policy, prompts, names, decoding, samples, width=width)
    return _whole(worker, answers)


def _whole(worker: RejectedAnswerWorker, answers: Sequence[Sequence[Answer]]) -> list[list[str]]:
    worker.counts.add({"samples_cut_off": sum(answer.cut for each in answers for answer in each)})
    return [list(dict.fromkeys(one.text for one in each if one.text and not one.cut)) for each in answers]


class OwnPairsWorker(RejectedAnswerWorker):
    """A block worker that makes pairs of the model's own answers; beside it stands whoever writes them."""

    def __init__(self, context: Context, settings: GenerationSettings) -> None:
        super().__init__(context, settings)
        self.model = context.writer

    def pairs(self, picked: Sequence[tuple[Example, Pick | Skip]], chosen_by: str | None = None) -> list[Pair | Skip]:
        """Pairs of what was picked, with their similarity.

        Args:
            chosen_by: who wrote the chosen answers, where it is not the model.
        """
        texts = [pick for _, pick in picked if not isinstance(pick, Skip)]
        cosines = iter(self.similarity([pick[1] for pick in texts], [pick[0] for pick in texts]) if texts else [])
        return [
            pick if isinstance(pick, Skip) else self._pair(example, pick, next(cosines), chosen_by or self.model)
            for example, pick in picked
        ]

    def _pair(self, example: Example, pick: Pick, cosine: float, chosen_by: str) -> Pair:
        chosen, rejected, margin = pick
        facts = {**own_facts(example, self.model), "chosen_model": chosen_by}
        if margin is not None:
            facts["margin"] = margin
        return Pair(
            replace(example, answer=chosen, rejected=rejected, rejected_policy=None, facts=facts, spans={}),
            rejected,
            self.method,
            cosine,
            1,
            self.seed,
            rejected_by="example",
        )


class SamplingWorker(OwnPairsWorker, WritingWorker):
    """Samples answers, of a model that may be behind a server; a subclass picks chosen and rejected."""

    def __init__(self, context: Context, settings: SampledSettings) -> None:
        super().__init__(context, settings)
        self.number = settings.samples
        self._errors: dict[str, str] = {}

    def samples(self, block: Sequence[Example]) -> list[list[str]]:
        """The different answers to each prompt that say something and come to an end, as they were sampled."""
        answers = self.writer.sample(block, self.decoding, self.number)
        for example, each in zip(block, answers, strict=True):
            self._errors[example.id] = next((answer.error for answer in each if answer.error), "")
        return _whole(self, answers)

    def one_answer(self, example: Example, detail: str = "") -> Skip:
        """Why an example whose samples were these has fewer than two to tell apart."""
        if error := self._errors[example.id]:
            return Skip(example.id, FAILED_REQUEST, error)
        return Skip(example.id, "one-answer", detail)
