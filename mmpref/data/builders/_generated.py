"""What the methods share that generate rejected answers with the run's model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from mmpref.counts import Counts
from mmpref.data.builder import CUT_OFF, Context, Outcome, Worker
from mmpref.data.pictures import Pictures
from mmpref.errors import ImageError, UsageError
from mmpref.recipes.names import names
from mmpref.sampling.settings import AUTO, BATCH_SIZE, BdhsSettings, SamplingSettings, rows_of
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.generate import Answer
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.writer import Noise, Writer

FAILED_REQUEST = "failed-request"
"""Reason of a skip: the server that the model is behind gave no answer."""


@dataclass(frozen=True)
class SimilaritySettings:
    """Settings of every such method.

    Args:
        similarity_model: a sentence-transformers model; cosine of rejected and chosen is recorded with each pair.
    """

    similarity_model: str = field(default="sentence-transformers/all-mpnet-base-v2", metadata=names("embedder"))


@dataclass(frozen=True)
class GenerationSettings(SamplingSettings, SimilaritySettings):
    """Settings of methods that let the model write a whole answer.

    Args:
        max_answer_tokens: bound on its length.
        keep_cut_off: take answers that it cuts off; else their rows are skipped, and counted.
        greedy: take the most probable token always; otherwise sample.
        batch_size: branches decoded together; ``auto`` lets the memory of an accelerator decide, and is 64 on a CPU.
    """

    max_answer_tokens: int = 512
    keep_cut_off: bool = False
    greedy: bool = True
    batch_size: int | Literal["auto"] = BATCH_SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_answer_tokens", "batch_size"):
            if (value := getattr(self, name)) != AUTO and value < 1:
                raise UsageError(f"builder.{name} is {value}; it must be at least 1.")


class RejectedAnswerWorker(Worker):
    """A block worker whose subclass says what the rejected answers are.

    Reasons for a skip: ``no-partner`` where a method takes something from another example of the block and none fits,
    and what the method says itself.
    """

    method: str

    def __init__(self, context: Context, settings: SimilaritySettings | BdhsSettings) -> None:
        from mmpref.sampling.similarity import load_similarity

        self.seed = context.seed
        self.similarity = load_similarity(settings.similarity_model)
        self.counts = Counts()

    def notes(self) -> dict[str, float]:
        return self.counts.take()

    def rejected_answers(self, block: Sequence[Example]) -> Sequence[str | Skip | None]:
        """The rejected answer of every example; None where it has no partner, and a skip where it cannot be used."""
        raise NotImplementedError

    def __call__(self, block: Sequence[Example]) -> Sequence[Outcome]:
        answers = self.rejected_answers(block)
        texts = [answer if isinstance(answer, str) else "" for answer in answers]
        cosines = self.similarity(texts, [example.answer for example in block])
        return [
            self._outcome(example, answer, cosine)
            for example, answer, cosine in zip(block, answers, cosines, strict=True)
        ]

    def _outcome(self, example: Example, answer: str | Skip | None, cosine: float) -> Pair | Skip:
        if isinstance(answer, Skip):
            return answer
        if answer is None:
            return Skip(example.id, "no-partner", "no row beside it has what this method takes from another")
        return Pair(example, answer, self.method, cosine, 1, self.seed)


class PolicyWorker(RejectedAnswerWorker):
    """One that works on the model itself: its image tokens, its pixel values, its logits."""

    def __init__(self, context: Context, settings: SimilaritySettings | BdhsSettings) -> None:
        from mmpref.vlm.preprocessing_pool import PreprocessingPool

        self.policy: Policy = context.policy()
        self.ahead = PreprocessingPool(self.policy.prompter, context.preprocessors(self.policy.device.type))
        super().__init__(context, settings)

    def begin(self, block: Sequence[Example]) -> None:
        self.ahead.begin(block)

    def close(self) -> None:
        self.ahead.close()


class WritingWorker(RejectedAnswerWorker):
    """One that has whole answers written by the model, which may be behind a server."""

    def __init__(self, context: Context, settings: GenerationSettings) -> None:
        self.writer = open_writer(context, rows_of(settings.batch_size))
        super().__init__(context, settings)
        self.decoding = settings.decoding(settings.max_answer_tokens, self.seed)
        self.keep_cut_off = settings.keep_cut_off

    def generate(self, examples: Sequence[Example], noise: Noise | None = None) -> list[str | Skip]:
        """An answer to each example, and a skip in place of one that there is not, or that the bound on its length cut
        off."""
        answers = self.writer.generate(examples, self.decoding, noise)
        return [self.usable(example, answer) for example, answer in zip(examples, answers, strict=True)]

    def usable(self, example: Example, answer: Answer) -> str | Skip:
        """An answer's text, or a skip where there is none, or the bound on its length cut it off."""
        if answer.error:
            return Skip(example.id, FAILED_REQUEST, answer.error)
        return Skip(example.id, CUT_OFF) if answer.cut and not self.keep_cut_off else answer.text

    def begin(self, block: Sequence[Example]) -> None:
        self.writer.begin(block)

    def notes(self) -> dict[str, float]:
        return {**super().notes(), **self.writer.notes()}

    def close(self) -> None:
        self.writer.close()


def open_writer(context: Context, width: int) -> Writer:
    """The run's model as somebody who writes answers.

    Args:
        width: answers decoded together, where it is in this process.

    Raises:
        ModelError: nobody answers at the model's URL, or a model that cannot be loaded.
    """
    if context.endpoint:
        from mmpref.judges.served import ServedWriter

        return ServedWriter(*context.endpoint, context.concurrency)
    from mmpref.sampling.answers import LocalWriter

    policy = context.policy()
    return LocalWriter(policy, width=width, workers=context.preprocessors(policy.device.type))


class GenerationWorker(WritingWorker):
    """A block worker whose subclass says what the model is shown: it generates a whole answer to that."""

    def model_inputs(self, block: Sequence[Example]) -> list[Example | None]:
        """What the model is asked and shown in each example's place; None where there is no partner."""
        raise NotImplementedError

    def rejected_answers(self, block: Sequence[Example]) -> Sequence[str | Skip | None]:
        shown = {example.id: inputs for example, inputs in zip(block, self.model_inputs(block), strict=True) if inputs}
        answers = dict(zip(shown, self.generate([*shown.values()]), strict=True))
        return [answers.get(example.id) for example in block]

    def begin(self, block: Sequence[Example]) -> None:
        if self.writer.works_ahead:
            with contextlib.suppress(ImageError):  # told when the block's turn has come
                self.writer.begin([inputs for inputs in self.model_inputs(block) if inputs])


class OtherImageWorker(GenerationWorker):
    """One whose subclass says which other images of the block the model is shown, so that nothing but these differs."""

    def __init__(self, context: Context, settings: GenerationSettings) -> None:
        super().__init__(context, settings)
        self.pictures = Pictures()

    def picked(self, block: Sequence[Example], others: Sequence[Sequence[int]]) -> list[int | None]:
        """Of each example, the place of the one whose images are shown.

        Args:
            others: of each, the places of those with other pictures.
        """
        raise NotImplementedError

    def model_inputs(self, block: Sequence[Example]) -> list[Example | None]:
        places = self.picked(block, self.pictures.others(block))
        return [
            None if place is None else replace(example, images=block[place].images)
            for example, place in zip(block, places, strict=True)
        ]
