"""Which rows of a source are worked on: conditions, a seeded subsample, and no image of an evaluation set.

Rows that are left out are skips with a reason: ``filtered`` (a condition does not hold), ``not-drawn`` (the subsample
has others), ``in-evaluation-set`` (an image is one of a table that must not be trained on).
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.errors import UsageError
from mmpref.registry import suggest
from mmpref.tables.cells import number
from mmpref.tables.image_roots import coco_id
from mmpref.types import Example, ImageData, Skip
from mmpref.words import words

Facts = Mapping[str, str | float]

FILTERED, NOT_DRAWN, EXCLUDED = "filtered", "not-drawn", "in-evaluation-set"
LENGTHS = ("length", "rejected_length")
"""Words of the chosen and of the source's own rejected answer: facts that every row has, or every preference row."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "~": lambda value, part: str(part).lower() in str(value).lower(),
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
                f"OP is one of {' '.join(sorted(_OPERATORS))}: --where 'margin >= 1'",
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
        wanted = number(self.value)
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
        known: set[str] = set()
        left_out: list[str | None] = []
        ranks: list[tuple[bytes, int]] = []
        for place, (name, facts) in enumerate(rows):
            known |= facts.keys()
            held = all(condition(facts) for condition in self.where)
            left_out.append(None if held else FILTERED)
            if held and self.subsample is not None:
                ranks.append((hashlib.sha256(f"{self.seed}\x1fsubsample\x1f{name}".encode()).digest(), place))
        for condition in self.where:
            if condition.name not in known:
                raise UsageError(
                    f"No row has {condition.name!r}, which --where asks for.", suggest(condition.name, sorted(known))
                )
        for _, place in sorted(ranks)[self.subsample or 0 :] if ranks else ():
            left_out[place] = NOT_DRAWN
        return left_out


class Excluded:
    """Images that must not be in a training set, recognised by COCO id and by what they look like.

    Args:
        images: of the evaluation sets.

    Raises:
        ImageError: an image that cannot be decoded.
    """

    def __init__(self, images: Iterable[ImageData] = ()) -> None:
        self._ids: set[int] = set()
        self._index = NearIndex()
        self._known: set[PerceptualHash] = set()
        for image in images:
            self.add(image)

    def add(self, image: ImageData) -> None:
        """Add an image.

        Raises:
            ImageError: it cannot be decoded.
        """
        one = PerceptualHash.of(image)
        self.add_name(image.name)
        if one not in self._known:
            self._known.add(one)
            self._index.add(one)

    def add_name(self, name: str) -> bool:
        """Add an image by its name alone; whether that is a COCO name."""
        if (found := coco_id(name)) is not None:
            self._ids.add(found)
        return found is not None

    def __call__(self, example: Example) -> Example | Skip:
        """The example, or a skip where one of its images is among those.

        Raises:
            ImageError: an image that cannot be decoded.
        """
        for image in example.images:
            if (found := coco_id(image.name)) is not None and found in self._ids:
                return Skip(example.id, EXCLUDED, f"COCO image {found}")
            if len(self._index) and any(True for _ in self._index.near(PerceptualHash.of(image))):
                return Skip(example.id, EXCLUDED, f"looks the same: {image.name or 'unnamed image'}")
        return example


def facts_with_lengths(facts: Facts, answer: str | None, rejected: str | None) -> dict[str, str | float]:
    """A row's facts, and the lengths of its answers in words."""
    texts = zip(LENGTHS, (answer, rejected), strict=True)
    return {**facts, **{name: float(len(words(text))) for name, text in texts if text is not None}}


def parsed(conditions: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions of a recipe.

    Raises:
        UsageError: one that is not of the form.
    """
    return tuple(Condition.parse(text) for text in conditions)
