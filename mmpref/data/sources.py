"""Rows -> examples. Every row has an outcome: an `Example`, or a `Skip` with a reason that is counted.

The last assistant turn is the answer and everything before it the prompt, which must end in a user turn; turns after
the answer are left out. Images belong to the first user turn, before or after its text. Reasons for a skip:

* ``no-image``: text only
* ``empty-prompt``, ``empty-answer``: no text where there must be some, or no such turn
* ``turn-order``: user and assistant do not take turns
* ``image-placement``: an image in a later turn or amid the text, or not as many placeholders as images
* ``missing-image``: a path that no image root has; the skip's detail is that path
* ``bad-image``: an image that is outside its root, corrupt, truncated, empty or too large
* ``malformed``: a cell that holds no text or messages

A `Reader` of a published set has reasons of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.data.roots import ImageRoots, MissingImageError
from mmpref.data.schema import (
    MARK,
    Reader,
    Shape,
    Turn,
    Unusable,
    facts_of,
    image_cells,
    rejected_of,
    shape_of,
    turns_of,
)
from mmpref.data.select import Excluded, Facts, Selection, facts_with_lengths
from mmpref.errors import ImageError, InputError
from mmpref.images import decode_noting
from mmpref.tables import Table
from mmpref.types import Example, ImageData, Skip

__all__ = ["ImageRoots", "Source", "image_cells", "read_image"]


def read_image(cell: Any, roots: ImageRoots) -> ImageData:
    """The encoded image of a cell: bytes, a ``{"bytes", "path"}`` mapping, or a path under the roots.

    Raises:
        ImageError: it is none of these, or the path cannot be read.
    """
    if isinstance(cell, Mapping):
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes):
            return ImageData(content, Path(path).name if isinstance(path, str) else "")
        cell = path
    if isinstance(cell, bytes):
        return ImageData(cell)
    if isinstance(cell, str):
        return roots.read(cell)
    raise ImageError(f"an image cell of type {type(cell).__name__} is no image.")


MISSING = "missing-image"
"""Reason of a skip: its detail is the path that was not found, as the row has it."""


@dataclass
class _Part:
    """One table of a source. Its shape is the first row's."""

    table: Table
    roots: ImageRoots
    shape: Shape = ()

    @property
    def where(self) -> str:
        return f"{self.table.spec} ({self.table.split})"

    def check_shape(self, number: int, row: Mapping[str, Any]) -> None:
        shape = shape_of(row, f"{self.where}, row {number}")
        self.shape = self.shape or shape
        if shape != self.shape:
            raise InputError(f"{self.where}, row {number} is of another shape ({' + '.join(shape)}) than the rows "
                             f"before it ({' + '.join(self.shape)}).", "Give one kind of rows at a time.")  # fmt: skip


_Item = tuple[_Part, int, Mapping[str, Any] | Unusable]
"""Of which table, the number of its raw row, and a row of a known shape or why there is none."""


class Source:
    """The first rows of one or several tables as examples. Looked through once when made, so that a file that breaks
    off or mixes shapes is refused before any work, not in the middle of it.

    Args:
        tables: one after another; each may have a shape of its own.
        image_root: folders and archives of the images; by default a local table's own folder.
        limit: take only the first rows of each table.
        reader: turns rows as a publisher has them into rows of our shapes.
        selection: which rows are worked on; the others are in ``left_out``, and in no block.
        excluded: images that no example may have.

    Raises:
        InputError: no rows, rows of no known shape, or of several in one table.
        UsageError: a selection by something that no row has.
    """

    def __init__(
        self,
        tables: Table | Sequence[Table],
        image_root: Sequence[str] = (),
        limit: int | None = None,
        reader: Reader | None = None,
        selection: Selection | None = None,
        excluded: Excluded | None = None,
    ) -> None:
        self._limit, self._reader, self._excluded = limit, reader, excluded
        several = [tables] if isinstance(tables, Table) else tables
        self._parts = [_Part(table, ImageRoots(image_root or table.images)) for table in several]
        self._names: list[str] = []
        self.left_out: list[Skip] = []
        reasons = selection(self._named()) if selection else [None for _ in self._named()]
        self._reasons = reasons
        self.left_out = [Skip(name, reason) for name, reason in zip(self._names, reasons, strict=True) if reason]
        self._names = [name for name, reason in zip(self._names, reasons, strict=True) if not reason]
        if not self._names and not self.left_out:
            raise InputError(f"The source {' + '.join(part.where for part in self._parts)} has no rows.")

    def _named(self) -> Iterator[tuple[str, Facts]]:
        """Name and facts of every row; keeps the names, and checks the shapes."""
        used: set[str] = set()
        for index, (part, number, row) in enumerate(self._rows()):
            given = row.name if isinstance(row, Unusable) else row.get("id")
            if not isinstance(row, Unusable):
                part.check_shape(number, row)
            plain = isinstance(given, str | int) and str(given).isprintable() and given != ""
            name = str(given) if plain else str(index)
            while name in used:
                name = f"{name}#{index}"
            used.add(name)
            self._names.append(name)
            yield name, _facts(row, part.shape)

    def __len__(self) -> int:
        return len(self._names)

    def blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, list[Example | Skip]]]:
        """Numbered blocks of ``size`` consecutive rows; images are read for the wanted ones only."""
        kept = (row for row, reason in zip(self._rows(), self._reasons, strict=True) if not reason)
        rows = zip(self._names, kept, strict=True)
        for number in range(-(-len(self) // size)):
            block = list(islice(rows, size))
            if wanted(number):
                yield number, [self._outcome(name, *item) for name, item in block]

    def _rows(self) -> Iterator[_Item]:
        for part in self._parts:
            for number, raw in enumerate(islice(part.table, self._limit)):
                for row in _read(self._reader, raw):
                    yield part, number, row

    def _outcome(self, name: str, part: _Part, number: int, row: Mapping[str, Any] | Unusable) -> Example | Skip:
        try:
            if isinstance(row, Unusable):
                raise row
            prompt, answer = _conversation(turns_of(row, part.shape), cells := image_cells(row))
            images = tuple(read_image(cell, part.roots) for cell in cells)
            kinds = {kind for image in images if (kind := decode_noting(image)[1])}
        except Unusable as unusable:
            return Skip(name, unusable.reason, unusable.detail)
        except MissingImageError as error:
            return Skip(name, MISSING, error.name)
        except ImageError as error:
            return Skip(name, "bad-image", str(error))
        example = Example(
            id=name,
            images=images,
            prompt=tuple(turn.message for turn in prompt),
            answer=answer,
            source_id=f"{part.table.name}/{part.table.split}/{number}",
            rejected=rejected_of(row, part.shape),
            rejected_policy=rejected_of(row, part.shape, "rejected_policy"),
            facts=facts_of(row),
            converted=tuple(sorted(kinds)),
        )
        return self._excluded(example) if self._excluded else example


def _facts(row: Mapping[str, Any] | Unusable, shape: Shape) -> Facts:
    """What is known of a row without its images; nothing of one that cannot be read."""
    if isinstance(row, Unusable):
        return {}
    try:
        turns = turns_of(row, shape)
        answer = next((turn.message.content for turn in reversed(turns) if turn.message.role == "assistant"), None)
        return facts_with_lengths(facts_of(row), answer, rejected_of(row, shape))
    except Unusable:
        return facts_of(row)


def _read(reader: Reader | None, raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | Unusable]:
    """What becomes of a raw row: never nothing."""
    if reader is None:
        yield raw
        return
    nothing = True
    try:
        for row in reader(raw):
            nothing = False
            yield row.named(raw.get("id")) if isinstance(row, Unusable) else row
    except Unusable as unusable:
        nothing = False
        yield unusable.named(raw.get("id"))
    if nothing:
        yield Unusable("no-pair").named(raw.get("id"))


def _conversation(turns: Sequence[Turn], cells: Sequence[Any]) -> tuple[Sequence[Turn], str]:
    """The prompt's turns and the answer."""
    last = max((i for i, turn in enumerate(turns) if turn.message.role == "assistant"), default=None)
    if last is None or not turns[last].message.content.strip():
        raise Unusable("empty-answer")
    prompt, answer = turns[:last], turns[last]
    talk = prompt[1:] if prompt and prompt[0].message.role == "system" else prompt
    if not talk or not all(turn.message.content.strip() for turn in talk if turn.message.role == "user"):
        raise Unusable("empty-prompt")
    if [turn.message.role for turn in talk] != ["user", "assistant"] * (len(talk) // 2) + ["user"]:
        raise Unusable("turn-order", ", ".join(turn.message.role for turn in turns))
    if not cells:
        raise Unusable("no-image")
    first = talk[0]
    if any(turn.placeholders or turn.inside for turn in (*prompt, answer) if turn is not first):
        raise Unusable("image-placement", f"{MARK} outside the first user turn")
    if first.inside:
        raise Unusable("image-placement", f"{MARK} amid the text")
    if first.placeholders not in (0, len(cells)):
        raise Unusable("image-placement", f"{first.placeholders} placeholders for {len(cells)} images")
    # White space around an answer is no part of it, and many chat templates trim it.
    return prompt, answer.message.content.strip()
