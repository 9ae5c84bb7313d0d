"""What the methods share that write rejected answers with the run's model: one answer a try, judged by similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmpref.data.builder import Context
from mmpref.data.stats import SAME
from mmpref.errors import UsageError
from mmpref.sampling.settings import SamplingSettings
from mmpref.tables.conversations import same_answer
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class MadeSettings:
    """Settings of every such method.

    Args:
        similarity_model: a sentence-transformers model; cosine of rejected and chosen is recorded with each pair.
    """

    similarity_model: str = "sentence-transformers/all-mpnet-base-v2"


@dataclass(frozen=True)
class WrittenSettings(SamplingSettings, MadeSettings):
    """Settings of methods that let the model write a whole answer.

    Args:
        max_answer_tokens: bound on its length.
        keep_cut_off: take answers that it cuts off; else their rows are skipped, and counted.
        greedy: take the most probable token always; otherwise sample.
        batch_size: branches decoded together.
    """

    max_answer_tokens: int = 512
    keep_cut_off: bool = False
    greedy: bool = True
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_answer_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"builder.{name} is {getattr(self, name)}; it must be at least 1.")


class MadeWorker:
    """A block worker whose subclass says what the rejected answers are.

    Reasons for a skip: ``empty-rejected``, ``same-as-chosen``, ``no-partner`` where a method takes something from
    another example of the block and none fits, and what the method says itself.
    """

    method: ClassVar[str]

    def __init__(self, context: Context, settings: MadeSettings) -> None:
        from mmpref.sampling.similarity import load_similarity
        from mmpref.vlm.preprocess import Ahead

        self.policy: Policy = context.policy()
        self.seed = context.seed
        self.ahead = Ahead(self.policy.prompter, context.preprocessors(self.policy.device.type))
        self.similarity = load_similarity(settings.similarity_model)

    def begin(self, block: Sequence[Example]) -> None:
        self.ahead.begin(block)

    def close(self) -> None:
        self.ahead.close()

    def answers(self, block: Sequence[Example]) -> Sequence[str | Skip | None]:
        """The rejected answer of every example; None where it has no partner, and a skip where it cannot be used."""
        raise NotImplementedError

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        answers = self.answers(block)
        texts = [answer if isinstance(answer, str) else "" for answer in answers]
        cosines = self.similarity(texts, [example.answer for example in block])
        return [self._outcome(*made) for made in zip(block, answers, cosines, strict=True)]

    def _outcome(self, example: Example, answer: str | Skip | None, cosine: float) -> Pair | Skip:
        if isinstance(answer, Skip):
            return answer
        if answer is None:
            return Skip(example.id, "no-partner", "no row beside it has what this method takes from another")
        if not answer.strip():
            return Skip(example.id, "empty-rejected")
        if same_answer(answer, example.answer):
            return Skip(example.id, SAME)
        return Pair(example, answer, self.method, cosine, 1, self.seed)
