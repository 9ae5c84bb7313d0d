"""What the builders of published preference sets share: their own pairs are taken, cells of raw rows are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.data.builder import Builder
from mmpref.data.row_facts import Reader
from mmpref.tables.cells import records, unpacked
from mmpref.tables.messages import Unusable
from mmpref.tables.table import Origin
from mmpref.types import Example, Pair, Skip

Row = Mapping[str, Any]
_LARGEST_COSINE = 1.001
"""With what rounding adds to it."""


@dataclass(frozen=True)
class NoSettings:
    """A method without settings."""


@dataclass(frozen=True)
class SourcePairs:
    """A block worker that takes the source's own pairs. Reason for a skip: ``no-rejected``."""

    method: str
    seed: int

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        return [self._outcome(example) for example in block]

    def _outcome(self, example: Example) -> Pair | Skip:
        if example.rejected is None:
            return Skip(example.id, "no-rejected")
        # Pairs that mmpref has made before keep what is known of their making.
        made = example.facts if made_before(example) else {}
        similarity = made.get("similarity")
        return Pair(
            example,
            example.rejected,
            str(made.get("method", self.method)),
            None if similarity is None else float(similarity),
            int(made.get("iterations", 1)),
            self.seed,
            example.rejected_policy,
            "example",
        )


def made_before(example: Example) -> bool:
    """Whether a pair is mmpref's own: the row says of which row it was made, and how, as ours do. Other sets have
    columns of these names for ends of their own."""
    tries, similarity = float(example.facts.get("iterations", 0)), float(example.facts.get("similarity", 0))
    return bool(example.made_from_row) and tries >= 1 and tries.is_integer() and abs(similarity) <= _LARGEST_COSINE


def published(method: str, origin: Origin | None = None, read: Reader | None = None) -> Builder:
    """A builder that takes the pairs of a published set, or of any preference data, and runs no model."""
    return Builder(
        config=lambda: NoSettings,
        worker=lambda context, _: SourcePairs(method, context.seed),
        uses_model=False,
        needs_pairs=True,
        takes_context=True,
        origin=origin,
        reader=(lambda *_: read) if read else None,
    )


def malformed(column: str, wanted: str, value: object) -> Unusable:
    """The row's cell is not what the set has there."""
    return Unusable("malformed", f"{column} is a {type(value).__name__}, not {wanted}")


def text(row: Row, column: str) -> str:
    """A cell that must be text.

    Raises:
        Unusable: it is none.
    """
    if not isinstance(value := row.get(column), str):
        raise malformed(column, "text", value)
    return value


def mapping(row: Row, column: str) -> Row:
    """A cell that must be a mapping, or JSON text of one.

    Raises:
        Unusable: it is none.
    """
    if not isinstance(value := unpacked(row.get(column)), Mapping):
        raise malformed(column, "a mapping", value)
    return value


def rows(row: Row, column: str) -> list[Row]:
    """A cell that must be a list of mappings, in any form that `mmpref.tables.cells` reads.

    Raises:
        Unusable: it is none.
    """
    value = records(unpacked(row.get(column)))
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise malformed(column, "a list of mappings", value)
    return value


def writer(row: Row) -> str | None:
    """The model that ``origin_split`` of RLHF-V and RLAIF-V names, where it is JSON that names one."""
    try:
        model = mapping(row, "origin_split").get("model")
    except Unusable:
        return None
    return model if isinstance(model, str) else None
