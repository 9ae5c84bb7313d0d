"""Whether a table's images are where its rows say, looked for before any long work: a wrong folder is told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, brief, row_at
from mmpref.log import warn
from mmpref.tables.image_cells import path_in_cell
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.table import Row, Table, TableReader

LOOKED_FOR = 5_000
"""Paths that are looked for, some seconds' work; where none of them is found, all that follow until one is."""
EMBEDDED = 100
"""Cells with the image itself after which no further row is read: such tables name no paths."""


class ImageLookup:
    """Looks for the images of one table's rows, in their order.

    Args:
        where: what errors call the table.
        roots: folders and archives of the images.
        names: the same, for messages.
    """

    def __init__(self, where: str, roots: ImageRoots, names: Sequence[str | Path]) -> None:
        self._where, self._roots = where, roots
        places = ("the folder that you are in" if str(name) == "." else str(name) for name in names)
        self._names = brief(", ".join(places), 600)
        self._seen = self._found = self._others = 0
        self._first = ""

    @property
    def is_done(self) -> bool:
        """Whether no further row has to be seen."""
        return self._others >= EMBEDDED or (self._seen >= LOOKED_FOR and self._found + self._others > 0)

    def see(self, cells: Sequence[Any], number: int) -> None:
        """The image cells of a row, and its number."""
        if self.is_done:
            return
        for cell in cells:
            path = path_in_cell(cell)
            if path is None:
                self._others += 1  # the image itself, or the address of one, of which each row tells
                continue
            self._seen += 1
            if self._roots.finds(path):
                self._found += 1
            elif not self._first:
                self._first = f"{row_at(number)}: {brief(path)!r}"

    def end(self) -> None:
        """That was the last row to be seen.

        Raises:
            InputError: the table has paths alone, and no image is found.
        """
        if not self._first:
            return
        under = f"under {self._names}" if self._names else "anywhere: no --image-root was given"
        if not self._found + self._others:
            several = self._seen > 1
            which = f"None of the {self._seen:,} images" if several else "The only image"
            raise InputError(
                f"{which} of {self._where} is {'' if several else 'not '}found {under}. First: {self._first}.",
                "Name the folder that paths are relative to with --image-root.",
            )
        missing = self._seen - self._found
        which = f"{'of the first' if self.is_done else 'of'} {self._seen:,} images of {self._where}"
        hint = (
            "Correct the paths, or name a further folder of them with --image-root."
            if self._names
            else "Name the folder that paths are relative to with --image-root."
        )
        warn(
            f"{which}, {missing:,} {'is' if missing == 1 else 'are'} not found {under}; rows without theirs are "
            f"skipped. First: {self._first}. {hint}"
        )


def look_for_images(
    table: Table,
    image_root: Sequence[str],
    limit: int | None,
    *,
    needs: Sequence[str] = ("chosen",),
    skip: int = 0,
    rows_of: Callable[[Row], Iterable[Mapping[str, Any]]] = lambda raw: (raw,),
) -> None:
    """Look for the images of a table's first rows, and for the columns that it needs: what rows lack is told first.

    Args:
        image_root: folders and archives of the images; by default the table's own.
        needs: answers that some row must have a column of, as `TableReader` has them.
        skip: rows that are passed over first.
        rows_of: makes rows of known shapes of one as it was published.

    Raises:
        InputError: none of the rows has the columns, or none of the images is found.
    """
    reader, places = TableReader(table, needs), image_root or table.images
    lookup = ImageLookup(reader.where, ImageRoots(places), places)
    for number, raw in enumerate(islice(table, skip, None if limit is None else skip + limit), skip):
        for row in rows_of(raw):
            lookup.see(reader.read(row, number).images, number)
        if lookup.is_done and reader.has_columns:
            break
    reader.end()
    lookup.end()
