"""Rows -> examples. Every row has an outcome: an `Example`, or a `Skip` with a reason that is counted.

The reasons are those of `mmpref.tables.rows`; a `Reader` of a published set has others of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.data.contamination import ExcludedImages
from mmpref.data.row_facts import Reader, facts_of, objects_of, source_row_of, spans_of
from mmpref.data.select import Facts, Selection, facts_with_lengths
from mmpref.errors import ImageError, InputError
from mmpref.image_metadata import without_metadata
from mmpref.images import DEADLY, Looks, open_looks
from mmpref.log import counted, logger
from mmpref.tables.columns import read_parts
from mmpref.tables.headings import unfolded
from mmpref.tables.image_cells import conversions, find_images, read_image
from mmpref.tables.image_lookup import ImageLookup
from mmpref.tables.image_roots import MissingImageError
from mmpref.tables.messages import Unusable
from mmpref.tables.named_images import RecordingRoots
from mmpref.tables.rows import image_fault
from mmpref.tables.table import Row, Table, TableReader
from mmpref.types import Example, ImageData, Skip, context_of
from mmpref.workers import DeadlyTask

MISSING = MissingImageError.reason
"""Reason of a skip: its detail is the path that was not found, as the row has it."""
METADATA_REMOVED, METADATA_LEFT = "metadata_removed", "metadata_left"
"""What is counted of rows whose images were to be without metadata; left is that of files that none can be taken out
of."""
NO_PAIR = "no-pair"
"""Reason of a skip: of a row that a reader or a method makes several pairs of, there is none."""

_LONGEST_ID = 1000
"""Characters; a longer cell names no row."""


@dataclass
class _Part:
    """One table of a source.

    Args:
        name: what rows call it, with the split: another table of the same name is called otherwise.
    """

    name: str
    table: Table
    roots: RecordingRoots
    reader: TableReader
    lookup: ImageLookup


_Item = tuple[_Part, int, Mapping[str, Any] | Unusable]
"""Of which table, the number of its raw row, and a row of a known shape or why there is none."""


class Source:
    """The first rows of one or several tables as examples. Looked through once when made, so that a file that breaks
    off is refused before any work, not in the middle of it.

    Args:
        tables: one after another.
        image_root: folders and archives of the images; by default a local table's own folder.
        limit: take only the first rows of each table.
        reader: turns rows as a publisher has them into rows of our shapes.
        selection: which rows are worked on; the others are in ``left_out``, and in no block.
        excluded: images that no example may have.
        pairs: rows without a rejected answer of their own are skipped.
        contexts: whether rows are taken whose answers continue a context.
        looks: sees whether images can be decoded; by default in this process.
        skip: pass over so many rows of each table first.
        strip_metadata: take what images carry beside their pixels out of them (`mmpref.image_metadata`).

    Raises:
        InputError: a table without rows, or without columns that are needed.
        UsageError: a selection by something that no row has.
    """

    def __init__(
        self,
        tables: Table | Sequence[Table],
        image_root: Sequence[str] = (),
        limit: int | None = None,
        reader: Reader | None = None,
        selection: Selection | None = None,
        excluded: ExcludedImages | None = None,
        pairs: bool = False,
        looks: Looks | None = None,
        contexts: bool = True,
        skip: int = 0,
        strip_metadata: bool = False,
    ) -> None:
        self._strip = strip_metadata
        self._contexts = contexts
        self._limit, self._reader, self._excluded, self._skip = limit, reader, excluded, skip
        self._looks = looks or open_looks(0)
        self._needs = ("chosen", "rejected") if pairs else ("chosen",)
        tables = [tables] if isinstance(tables, Table) else tables
        self._parts = [
            _part(name, table, image_root or table.images, self._needs)
            for name, table in zip(_names_of(tables), tables, strict=True)
        ]
        self._names: list[str] = []
        self._named_images: dict[int, list[dict[str, str]]] = {}
        self.skips: list[Skip] = []
        reasons = selection(self._named()) if selection else [None for _ in self._named()]
        self._reasons = reasons
        self.skips = [Skip(name, reason) for name, reason in zip(self._names, reasons, strict=True) if reason]
        self._names = [name for name, reason in zip(self._names, reasons, strict=True) if not reason]

    def _named(self) -> Iterator[tuple[str, Facts]]:
        """Name and facts of every row; keeps the names, checks the columns, and says what is not read."""
        used: set[str] = set()
        firsts: dict[tuple[str, str], int] = {}  # table and id -> the first row that has it
        repeated: dict[tuple[str, int], tuple[int, str, str]] = {}
        filled: set[str] = set()
        for index, (part, number, row) in enumerate(self._rows(), self._skip):
            filled.add(part.reader.where)
            row_id = row.name if isinstance(row, Unusable) else row.get("id")
            is_name = (
                isinstance(row_id, str | int) and str(row_id).isprintable() and 0 < len(str(row_id)) <= _LONGEST_ID
            )
            name = str(row_id) if is_name else str(number)
            while name in used:
                name = f"{name}#{index}"
            used.add(name)
            where = part.reader.where
            if (
                is_name and firsts.setdefault((where, str(row_id)), number) != number
            ):  # of one row come several examples
                repeated.setdefault((where, number), (number, str(row_id), name))
            self._names.append(name)
            if isinstance(row, Unusable):
                yield name, {}
                continue
            read = part.reader.read(row, number)
            part.lookup.see(read.images, number)
            yield name, facts_with_lengths(facts_of(row), read.chosen or None, read.rejected or None)
        if repeated:
            logger.info(
                "%s an id that an earlier row has, the first row %d (counted from 0) %r; it goes by %r from here on.",
                f"{counted(len(repeated), 'row')} {'has' if len(repeated) == 1 else 'have'}",
                *next(iter(repeated.values())),
            )
        for part in self._parts:
            if part.reader.where not in filled:
                if self._skip:
                    raise InputError(
                        f"{part.reader.where} has no rows after the first {self._skip:,}.",
                        "Pass over fewer (--skip); a chain ends before by `mmpref iterate NAME --rounds N`.",
                    )
                raise InputError(f"{part.reader.where} has no rows.")
            part.reader.end()
            part.reader.warn_of_unread()
            part.lookup.end()

    def __len__(self) -> int:
        return len(self._names)

    def blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, list[Example | Skip]]]:
        """Numbered blocks of ``size`` consecutive rows; images are read for the wanted ones only, and a block's are in
        `named_images` when it is given."""

        def images(block: tuple[int, list[Example | Skip]]) -> list[tuple[ImageData, ...]]:
            return [row.images for row in block[1] if isinstance(row, Example) and row.images]

        for number, rows in self._looks.ahead(self._read_blocks(size, wanted), images):
            yield number, [row if isinstance(row, Skip) else self._checked(row) for row in rows]

    def named_images(self, number: int) -> list[dict[str, str]]:
        """`mmpref.tables.named_images.Digests` of the images of each table that a block's rows name; once."""
        return self._named_images.pop(number)

    def _read_blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, list[Example | Skip]]]:
        """The wanted blocks, with images that are not decoded."""
        selected = (row for row, reason in zip(self._rows(), self._reasons, strict=True) if not reason)
        rows = zip(self._names, selected, strict=True)
        for number in range(-(-len(self) // size)):
            block = list(islice(rows, size))
            if wanted(number):
                examples = [self._read_row(name, *item) for name, item in block]
                self._named_images[number] = [part.roots.take() for part in self._parts]
                yield number, examples

    def _rows(self) -> Iterator[_Item]:
        for part in self._parts:
            end = None if self._limit is None else self._skip + self._limit
            for number, raw in enumerate(islice(part.table, self._skip, end), self._skip):
                for row in shaped_rows(self._reader, raw):
                    yield part, number, row

    def _read_row(self, name: str, part: _Part, number: int, row: Mapping[str, Any] | Unusable) -> Example | Skip:
        if isinstance(row, Unusable):
            return Skip(name, row.reason, row.detail)
        read = part.reader.read_again(row, number)
        if fault := read.fault(*self._needs):
            return Skip(name, fault.reason, fault.detail)
        if not self._contexts and context_of(read.prompt):
            return Skip(name, "context", "the answers continue one, and this method makes whole answers")
        try:
            images, notes = find_images(read.images, part.roots)
            if self._strip:
                images, stripped = _stripped(images)
                notes = (*notes, *stripped)
        except MissingImageError as error:
            return Skip(name, MISSING, error.name, _missing(read.images, part.roots))
        except ImageError as error:
            return _skip(name, error)
        return Example(
            id=name,
            images=images,
            prompt=read.prompt,
            answer=read.chosen,
            source_id=f"{part.name}/{number}",
            rejected=read.rejected or None,
            rejected_policy=read.rejected_policy or None,
            facts=facts_of(row),
            notes=(*read.notes, *notes),
            objects=objects_of(row),
            made_from_row=source_row_of(row),
            spans=spans_of(row),
        )

    def _checked(self, example: Example) -> Example | Skip:
        """An example whose images can be decoded, and are not excluded."""
        try:
            looks = self._looks(example.images) if example.images else ()
        except DeadlyTask:
            return _skip(example.id, ImageError(DEADLY))
        except ImageError as error:
            return _skip(example.id, error)
        checked = replace(example, notes=(*example.notes, *conversions(looks)))
        return self._excluded(checked) if self._excluded else checked


def _missing(cells: Sequence[Any], roots: RecordingRoots) -> tuple[str, ...]:
    """The paths of a row's image cells that no root has, each once."""
    names: dict[str, None] = {}
    for cell in cells:
        try:
            read_image(cell, roots)
        except MissingImageError as error:
            names[error.name] = None
        except ImageError:
            continue  # of another fault the row would have to be told anew
    return tuple(names)


def _stripped(images: Sequence[ImageData]) -> tuple[tuple[ImageData, ...], tuple[str, ...]]:
    """Images without metadata, and what is counted of that."""
    bare = [without_metadata(image.content) for image in images]
    removed = any(new not in (None, image.content) for new, image in zip(bare, images, strict=True))
    notes = ((METADATA_REMOVED, removed), (METADATA_LEFT, None in bare))
    return (
        tuple(image if new is None else replace(image, content=new) for new, image in zip(bare, images, strict=True)),
        tuple(note for note, is_so in notes if is_so),
    )


def _skip(name: str, error: ImageError) -> Skip:
    fault = image_fault(error)
    return Skip(name, fault.reason, fault.detail)


def _names_of(tables: Sequence[Table]) -> list[str]:
    """What rows call each table, without the folders of this machine: ``rows.json/train``, ``rows.json#2/train`` of the
    second other one of that name."""
    known: dict[str, list[str]] = {}
    names = []
    for table in tables:
        specs = known.setdefault(f"{table.name}/{table.split}", [])
        if table.spec not in specs:
            specs.append(table.spec)
        number = specs.index(table.spec) + 1
        names.append(f"{table.name}{f'#{number}' if number > 1 else ''}/{table.split}")
    return names


def _part(name: str, table: Table, image_root: Sequence[str | Path], needs: Sequence[str]) -> _Part:
    roots, reader = RecordingRoots(image_root), TableReader(table, needs)
    return _Part(name, table, roots, reader, ImageLookup(reader.where, roots, image_root))


def reading(reader: Reader | None) -> Callable[[Row], Any]:
    """What a build makes of a raw row, to be compared: see `mmpref.tables.columns.own_columns`."""
    if reader is None:
        return read_parts
    return lambda raw: [
        (row.reason, row.detail) if isinstance(row, Unusable) else row for row in shaped_rows(reader, raw)
    ]


def shaped_rows(reader: Reader | None, raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | Unusable]:
    """What becomes of a raw row: never nothing."""
    if reader is None:
        yield unfolded(raw)
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
        yield Unusable(NO_PAIR).named(raw.get("id"))
