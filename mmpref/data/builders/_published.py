"""What the builders of published preference sets share: pairs are kept as they are, cells of raw rows are checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.data.builder import Builder, Context
from mmpref.data.schema import Reader
from mmpref.data.stats import SAME
from mmpref.tables.conversations import same_answer
from mmpref.tables.table import Origin
from mmpref.tables.turns import ROLES, Unusable
from mmpref.types import Example, Pair, Skip

Row = Mapping[str, Any]


@dataclass(frozen=True)
class NoSettings:
    """A method without settings."""


@dataclass(frozen=True)
class Keep:
    """A block worker that takes the source's own pairs. Reasons for a skip: ``no-rejected``, ``same-as-chosen``."""

    method: str
    seed: int

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        return [self._outcome(example) for example in block]

    def _outcome(self, example: Example) -> Pair | Skip:
        if example.rejected is None:
            return Skip(example.id, "no-rejected")
        if same_answer(example.rejected, example.answer):
            return Skip(example.id, SAME)
        # Pairs that mmpref has made before keep what is known of their making.
        method, similarity = example.facts.get("method", self.method), example.facts.get("similarity")
        return Pair(
            example,
            example.rejected,
            str(method),
            None if similarity is None else float(similarity),
            int(example.facts.get("iterations", 1)),
            self.seed,
            example.rejected_policy,
        )


def published(
    method: str, origin: Origin, reader: Callable[[Any, int], Reader], settings: type[Any] = NoSettings
) -> Builder:
    """A builder that reads a published set and runs no model.

    Args:
        reader: makes the reader of its rows from the settings and the seed.
        settings: the dataclass of its settings.
    """

    def worker(context: Context, _settings: Any) -> Keep:
        return Keep(method, context.seed)

    return Builder(
        config=lambda: settings, worker=worker, uses_model=False, needs_pairs=True, origin=origin, reader=reader
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
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unusable("malformed", f"{column} is not JSON ({error})") from error
    if not isinstance(value, Mapping):
        raise malformed(column, "a mapping", value)
    return value


def rows(row: Row, column: str) -> list[Row]:
    """A cell that must be a list of mappings.

    Raises:
        Unusable: it is none.
    """
    value = row.get(column)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise malformed(column, "a list of mappings", value)
    return value


def role(turn: Row) -> str | None:
    """Whose turn it is, in our terms; None where the name is not known."""
    given = turn.get("role") or turn.get("from")
    return ROLES.get(given) if isinstance(given, str) else None


def writer(row: Row) -> str | None:
    """The model that ``origin_split`` of RLHF-V and RLAIF-V names, where it is JSON that names one."""
    try:
        model = mapping(row, "origin_split").get("model")
    except Unusable:
        return None
    return model if isinstance(model, str) else None
