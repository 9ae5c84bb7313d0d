"""What became of the rows of a training run's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmpref.errors import InputError
from mmpref.tables.repeated_pairs import RepeatedPairs, pair_keys
from mmpref.tables.rows import NAME_IMAGES, NO_IMAGE, Fault, PreferenceRow
from mmpref.tables.table import Table
from mmpref.types import ImageData, context_of

SKIPS_SHOWN = 20
"""Of each reason, the skipped rows that are named."""


class RowTally:
    """What became of the rows of tables, and what the used ones are.

    Args:
        are_pairs: whether rows are told apart by both answers, so that repeated pairs are counted.
    """

    def __init__(self, tables: Sequence[Table], are_pairs: bool) -> None:
        self._tables, self._are_pairs = tables, are_pairs
        self._skipped, self._changed, self._used = Counter[str](), Counter[str](), Counter[int]()
        self._methods = [Counter[str]() for _ in tables]
        self._skips: dict[str, list[dict[str, str]]] = {}
        self._contexts = self._weighed = 0
        self._repeated = RepeatedPairs()

    def skip(self, where: str, fault: Fault) -> None:
        self._skipped[fault.reason] += 1
        if len(shown := self._skips.setdefault(fault.reason, [])) < SKIPS_SHOWN:
            shown.append({"row": where, "detail": fault.detail or fault.reason})

    def use(
        self,
        table: int,
        row: PreferenceRow,
        images: Sequence[ImageData],
        notes: Iterable[str],
        method: str,
        weights: Mapping[str, Any],
    ) -> None:
        """Count a row of a table, which is named by its place."""
        self._changed.update(notes)
        self._used[table] += 1
        if self._are_pairs:
            self._repeated.add(pair_keys(images, row.prompt, row.chosen, row.rejected))
        self._contexts += bool(context_of(row.prompt))
        self._weighed += any(value != [] for value in weights.values())
        self._methods[table].update([method] if method else [])

    def refuse_none(self) -> None:
        """Raises InputError where no row is used."""
        if self._used:
            return
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(self._skipped.items()))
        names = ", ".join(table.spec for table in self._tables)
        example = next(shown[0] for shown in self._skips.values())
        first = f"First: {example['row']}: {example['detail']}".rstrip(".")
        hint = NAME_IMAGES if NO_IMAGE in self._skips else ""
        raise InputError(f"No row of {names} can be trained on ({reasons}). {first}.", hint)

    def facts(self) -> dict[str, Any]:
        """For the file of facts beside the rows; counts by name are sorted by it."""
        sources = [
            {**table.facts(), "rows": self._used[index], **({"methods": dict(sorted(made.items()))} if made else {})}
            for index, (table, made) in enumerate(zip(self._tables, self._methods, strict=True))
        ]
        return {
            "sources": sources,
            "skipped": dict(sorted(self._skipped.items())),
            "changed": dict(sorted(self._changed.items())),
            "skips": dict(sorted(self._skips.items())),
            "contexts": self._contexts,
            "weighed": self._weighed,
            "repeated": self._repeated.counts(),
        }
