"""Control: the reference answer of another row, drawn within the block; a contrast with another text, and, unless the
row's prompt is to be the same, often with an answer to another question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._partners import no_partner, other_answers
from mmpref.data.pictures import Pictures
from mmpref.recipes.schema import OPTIONAL
from mmpref.rng import stream
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings:
    """Settings of mismatched answers.

    Args:
        same_prompt: the other row has the same prompt: its answer has the form that is asked for.
    """

    same_prompt: bool | None = field(default=None, metadata=OPTIONAL)


class _Worker:
    """Reason for a skip: ``no-partner``, where no example of the block that may be drawn has another answer. One that
    shows a picture of the example's may not: its answer may be true of it."""

    def __init__(self, context: Context, settings: Settings) -> None:
        self.seed, self.same_prompt = context.seed, settings.same_prompt
        self.pictures = Pictures()

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        shared = self.pictures.shared(block)
        return [
            self._outcome(example, [other for place, other in enumerate(block) if place not in own])
            for example, own in zip(block, shared, strict=True)
        ]

    def _outcome(self, example: Example, block: Sequence[Example]) -> Pair | Skip:
        drawn_of = [other for other in block if other.prompt == example.prompt] if self.same_prompt else block
        others = other_answers(example, drawn_of)
        if not others:
            return no_partner(example, "another answer, about another picture")
        taken = others[int(stream(self.seed, example.id, 1, "partner").integers(len(others)))]
        return Pair(example, taken, "mismatched", None, 1, self.seed)


BUILDER = Builder(config=lambda: Settings, worker=_Worker, uses_model=False)
