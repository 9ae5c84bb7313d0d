"""The pairs of a preference set, for benchmarks that ask about them: the rows that training would take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mmpref.bench.cells import cell_image
from mmpref.errors import InputError, brief
from mmpref.log import logger
from mmpref.run.results import ALL
from mmpref.tables.cells import is_null
from mmpref.tables.headings import unfolded
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.rows import Fault, PreferenceRow, same_answer
from mmpref.tables.table import Table, TableReader, numbered_rows
from mmpref.types import ImageData, Message

PAIR = ("chosen", "rejected")
"""Where a sample's reference has its answers, and a reward model's answer, as JSON, their values."""


class Rewards(NamedTuple):
    """What a reward model gives the two answers of a pair."""

    chosen: float
    rejected: float

    @classmethod
    def read(cls, answer: str) -> Rewards:
        """Those of a reward model's answer; equal ones where it has none."""
        return cls(*(json.loads(answer)[name] for name in PAIR)) if answer else cls(0.0, 0.0)

    @property
    def preferred(self) -> Literal["chosen", "equal", "rejected"]:
        """The answer with the higher reward."""
        if self.chosen > self.rejected:
            return "chosen"
        return "equal" if self.chosen == self.rejected else "rejected"

    @property
    def right(self) -> float:
        """1 where that is the chosen one, 1/2 where both are equal."""
        return {"chosen": 1.0, "equal": 0.5, "rejected": 0.0}[self.preferred]


@dataclass(frozen=True)
class LabelledPair:
    """A prompt about images, and two answers of which one is better.

    Args:
        number: the row's.
        images: encoded, one at least; empty where one cannot be read (`mmpref.bench.cells.cell_image`).
        part: the row's ``source``.
    """

    number: int
    images: tuple[ImageData, ...]
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    part: str


def labelled_pairs(table: Table, limit: int | None) -> Iterator[LabelledPair]:
    """The pairs among the first rows. Rows that are none are left out and counted in a warning; an image that cannot
    be read makes its sample a missing one.

    Raises:
        InputError: no row is a pair.
    """
    reader, roots = TableReader(table, PAIR), ImageRoots(table.images)
    left_out: Counter[str] = Counter()
    first, used = "", 0
    for number, row, where in numbered_rows(table, limit):
        read = reader.read(row, number)
        if fault := _fault(read):
            left_out[fault.reason] += 1
            first = first or f"{where}: {fault.detail or fault.reason}".rstrip(".")
            continue
        used += 1
        images = tuple(cell_image(cell, where, roots) for cell in read.images)
        yield LabelledPair(number, images, read.prompt, read.chosen, read.rejected, _part(unfolded(row).get("source")))
    reader.end()
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items()))
    if not used:
        raise InputError(
            f"No row of {reader.where} is a pair to ask about ({reasons}). First: {first}."
            if left_out
            else f"{reader.where} has no rows."
        )
    if left_out:
        logger.warning("Warning: rows of %s are left out (%s). First: %s.", reader.where, reasons, first)


def _fault(read: PreferenceRow) -> Fault | None:
    if fault := read.fault(*PAIR):
        return fault
    if same_answer(read.chosen, read.rejected):
        return Fault("equal-answers", "", "rejected", "rejected")
    return None


def _part(source: Any) -> str:
    return ALL if is_null(source) else brief(str(source), 100)
