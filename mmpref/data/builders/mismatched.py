"""Control: the reference answer of another row, drawn within the block; a contrast with another text."""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._partners import no_partner, other_answers
from mmpref.data.builders._published import NoSettings
from mmpref.rng import stream
from mmpref.types import Example, Pair, Skip


class _Worker:
    """Reason for a skip: ``no-partner``, where every example of the block has the same answer."""

    def __init__(self, context: Context, _settings: NoSettings) -> None:
        self.seed = context.seed

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        return [self._outcome(example, block) for example in block]

    def _outcome(self, example: Example, block: Sequence[Example]) -> Pair | Skip:
        others = other_answers(example, block)
        if not others:
            return no_partner(example)
        taken = others[int(stream(self.seed, example.id, 1, "partner").integers(len(others)))]
        return Pair(example, taken, "mismatched", None, 1, self.seed)


BUILDER = Builder(config=lambda: NoSettings, worker=_Worker, uses_model=False)
