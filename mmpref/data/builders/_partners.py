"""What the controls share that take a row's rejected answer, or its words, from other rows of the block."""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.tables.rows import same_answer
from mmpref.types import Example, Skip


def other_answers(example: Example, block: Sequence[Example]) -> list[str]:
    """The block's reference answers, in its order, that are not this example's."""
    return [other.answer for other in block if not same_answer(other.answer, example.answer)]


def no_partner(example: Example, what: str = "another answer") -> Skip:
    """Why an example has no pair where no row of the block has what is needed."""
    return Skip(example.id, "no-partner", f"no row beside it has {what}")
