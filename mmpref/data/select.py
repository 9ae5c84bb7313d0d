"""Which rows of a source are worked on: conditions, and a seeded subsample.

Rows that are left out are skips with a reason: ``filtered`` (a condition does not hold) and ``not-drawn`` (the
subsample has others).
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpref.errors import UsageError
from mmpref.registry import suggest
from mmpref.tables.cells import as_number
from mmpref.words import folded, words

Facts = Mapping[str, str | float]

FILTERED, NOT_DRAWN = "filtered", "not-drawn"
LENGTHS = ("length", "rejected_length")
"""Words of the chosen and of the source's own rejected answer: facts that every row has, or every preference row."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "~": lambda value, part: folded(str(part)) in folded(str(value)),
}
_ORDER = ("<=", ">=", "<", ">")
_FORM = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*")


@dataclass(frozen=True)
class Condition:
    """``FIELD OP VALUE``: what a row's fact must be. A row without the fact does not fulfil it.

    Args:
        name: of the fact, such as ``source``, ``chosen_model``, ``margin`` or ``length``.
        sign: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, or ``~`` (contains, in upper or lower case).
        value: text, compared as a number where the fact is one. Texts have no order.
    """

    name: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            UsageError: it is not of that form.
        """
        if not (match := _FORM.fullmatch(text)) or not match[3]:
            raise UsageError(
                f"The condition {text!r} is not of the form FIELD OP VALUE.",
                f"OP is one of {' '.join(sorted(_OPERATORS))}: --where='margin >= 1'",
            )
        return cls(match[1], match[2], match[3])

    def __call__(self, facts: Facts) -> bool:
        """Whether it holds.

        Raises:
            UsageError: a number is compared with a text that is none, or a text by its order.
        """
        if (fact := facts.get(self.name)) is None:
            return False
        if isinstance(fact, str) and self.sign in _ORDER:
            raise UsageError(f"{self.name} is text, which {self.sign} does not compare.", "Use =, != or ~.")
        if isinstance(fact, str) or self.sign == "~":
            return bool(_OPERATORS[self.sign](str(fact), self.value))
        wanted = as_number(self.value)
        if wanted is None:
            raise UsageError(f"{self.name} is a number, which {self.value!r} is not.", "Check --where.")
        return bool(_OPERATORS[self.sign](fact, wanted))


@dataclass(frozen=True)
class Selection:
    """Which rows are worked on, by what is known of them without their images.

    Args:
        where: conditions that all must hold.
        subsample: how many of the rows for which they hold are drawn; None takes all. A smaller number of the same seed
            draws a part of what a larger one draws.
        seed: of the draw.
    """

    where: tuple[Condition, ...] = ()
    subsample: int | None = None
    seed: int = 0

    def __call__(self, rows: Iterable[tuple[str, Facts]]) -> list[str | None]:
        """Why each row is left out, or None where it is not.

        Args:
            rows: name and facts of every row, in order.

        Raises:
            UsageError: a condition on something that no row has, or that cannot be compared.
        """
        field_names: set[str] = set()
        reasons: list[str | None] = []
        ranks: list[tuple[bytes, int]] = []
        for place, (name, facts) in enumerate(rows):
            field_names |= facts.keys()
            fulfilled = all(condition(facts) for condition in self.where)
            reasons.append(None if fulfilled else FILTERED)
            if fulfilled and self.subsample is not None:
                ranks.append((hashlib.sha256(f"{self.seed}\x1fsubsample\x1f{name}".encode()).digest(), place))
        for condition in self.where:
            if condition.name not in field_names:
                raise UsageError(
                    f"No row has {condition.name!r}, which --where asks for.",
                    suggest(condition.name, sorted(field_names)),
                )
        for _, place in sorted(ranks)[self.subsample or 0 :] if ranks else ():
            reasons[place] = NOT_DRAWN
        return reasons


def facts_with_lengths(facts: Facts, answer: str | None, rejected: str | None) -> dict[str, str | float]:
    """A row's facts, and the lengths of its answers in words."""
    texts = zip(LENGTHS, (answer, rejected), strict=True)
    return {**facts, **{name: float(len(words(text))) for name, text in texts if text is not None}}
