"""A table: the rows of one split, read anew on every iteration, and what is known of where they come from; and its
preference rows, read by one rule whoever asks.

Every preference row is read by itself, whatever the shape of those before it; one of no known shape is ``malformed``. A
table of which no row has the columns that are needed is refused, by what its first row lacks.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, brief, row_at
from mmpref.local_paths import path_hint
from mmpref.log import counted, logger
from mmpref.registry import Registry, suggest
from mmpref.tables.cells import columns_of, is_image_file, own_name
from mmpref.tables.headings import unfolded
from mmpref.tables.messages import CAPTIONS, DEFAULT_PROMPT, rejected_column
from mmpref.tables.parts import HINT, PUBLISHED, answer_column, how_to_name
from mmpref.tables.rows import FIRST_CAPTION, LAST_ANSWER, PROMPT_GIVEN, REJECTED_POLICY, Fault, PreferenceRow, read_row

Row = dict[str, Any]
Rows = Callable[[str], Iterable[Row]]


TABLES: Registry[Rows] = Registry("table", "mmpref.tables", "rows")
"""Tables that installed packages make on demand: a module with ``rows(split) -> Iterable[dict]`` and ``SPLITS``, and
where it has one a ``LICENCE``."""


HUB_FILE = "hf://datasets/"
LOOKED_THROUGH = 1000
"""Rows after which a table is refused, where none has the columns: a large one is not read to its end for that."""


@dataclass(frozen=True)
class Table:
    """Rows of one split, read anew on every iteration.

    Args:
        spec: what the user asked for.
        split: which part.
        revision: the Hub commit, or None.
        fingerprint: identifies the content: the commit, a hash of local files, or the package's version.
        licence: as the Hub card or the package states it, or None.
        rows: makes an iterator of raw rows; image cells are ``{"bytes": ..., "path": ...}`` or paths.
        root: the folder that a local table lies in; image paths in its rows are relative to it unless told otherwise.
        archives: image archives that belong to a table of the Hub, where its rows name images by path.
        image_roots: folders and archives that the user names for them, in place of all others.
    """

    spec: str
    split: str
    revision: str | None
    fingerprint: str
    licence: str | None
    rows: Callable[[], Iterator[Row]]
    root: Path | None = None
    archives: tuple[Path, ...] = ()
    image_roots: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    @property
    def name(self) -> str:
        """The spec without the folders of this machine: what may be written into rows that are published."""
        return Path(self.spec).name or "local" if self.root else self.spec

    @property
    def images(self) -> tuple[Path, ...]:
        """Folders and archives that image paths in the rows are relative to."""
        return self.image_roots or self.archives or ((self.root,) if self.root else ())

    def facts(self) -> dict[str, Any]:
        """For manifests and cards."""
        return {
            "id": self.spec,
            "split": self.split,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "licence": self.licence,
        }


@dataclass(frozen=True)
class Origin:
    """Where a data set is published, and which of its files hold the rows.

    Args:
        repos: Hub datasets; the first that exists is read.
        files: patterns of file names; the files of the first that names any are read as they are, one after another.
            For repositories with a loading script (which the ``datasets`` library refuses), with other files beside
            the rows, or with files of different types.
        archives: names of image archives in the repository, fetched where the rows have no images of their own.
    """

    repos: tuple[str, ...]
    files: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()


class TableReader:
    """Reads the rows of one table, in their order.

    Args:
        needs: answers (``chosen``, ``rejected``, ``rejected_policy``) that some row must have a column of.
    """

    def __init__(self, table: Table, needs: Sequence[str] = ("chosen",)) -> None:
        self.where = f"{table.spec} ({table.split})"
        self.unread: dict[str, None] = {}
        """Columns that look like answers or parts of the question, and are not read."""
        self._needs, self._table = needs, table
        self._aside: Counter[str] = Counter()
        """Rows that cannot be used as they are read, by the column in which they have a caption."""
        self._given, self._captions, self._conversations = 0, 0, 0
        self._rows, self._any_has_them = 0, False
        self._first: tuple[Mapping[str, Any], int] = ({}, 0)

    @property
    def has_columns(self) -> bool:
        """Whether some row that was read has them all."""
        return self._any_has_them

    def read(self, row: Mapping[str, Any], number: int) -> PreferenceRow:
        """The next row, whose number in the table this is.

        Raises:
            InputError: so many rows were read, and none has the columns.
        """
        read = self.read_again(row, number)
        if self._rows == 0:
            self._first = row, number
        self._rows += 1
        self._any_has_them = self._any_has_them or not _lacking(row, read, self._needs)
        for column in read.unread:
            self.unread.setdefault(brief(column, 60))
        if "rejected" not in self._needs and (caption := _caption_aside(unfolded(row), read)):
            self._aside[caption] += 1
        self._given += PROMPT_GIVEN in read.notes
        self._captions += FIRST_CAPTION in read.notes
        self._conversations += LAST_ANSWER in read.notes
        if self._rows == LOOKED_THROUGH:
            self.end()
        return read

    def read_again(self, row: Mapping[str, Any], number: int) -> PreferenceRow:
        """A row that was read before."""
        try:
            return read_row(row, f"{self.where}, {row_at(number)}")
        except InputError:
            detail = f"its columns are {columns_of(unfolded(row))}: no shape that mmpref reads"
            fault = Fault("malformed", brief(detail, 600), "prompt", "row")
            return PreferenceRow((), "", "", "", (), (), (), (), (fault,))

    def end(self) -> None:
        """That was the last row.

        Raises:
            InputError: none of the rows has the columns.
        """
        if self._any_has_them or not self._rows:
            return
        row, number = self._first
        where, columns = f"{self.where}, {row_at(number)}", columns_of(unfolded(row))
        read = self.read_again(row, number)
        if not read.shape and answer_column(unfolded(row)) is None:
            raise InputError(f"{where} has the columns {columns}: no shape that mmpref reads.", HINT)
        missing = _lacking(row, read, self._needs)
        unread = f" {', '.join(read.unread)} is not read." if read.unread else ""
        if missing == [REJECTED_POLICY]:
            hint = "build-dataset with --set keep_rejected=true writes two rejected answers."
        elif "rejected" in self._needs:
            hint = f"Preference data has prompt, chosen, rejected and images. {how_to_name(unfolded(row), missing)}"
            if missing == ["rejected"]:
                hint += " `mmpref build-dataset --source` makes pairs of rows with one answer."
        else:
            missing = ["answer" if name == "chosen" else name for name in missing]
            hint = how_to_name(unfolded(row), missing) + (f" {PUBLISHED}" if "answer" in missing else "")
        raise InputError(f"{where} lacks {', '.join(missing)}; its columns are {columns}.{unread}", hint)

    def warn_of_unread(self) -> None:
        """Say which columns were not read, each once, and in how many rows a prompt was put."""
        if self._given:
            logger.info(
                "%s: %s a caption and no prompt, and %r is asked; --default-prompt says another.",
                self.where,
                counted(self._given, "row has", "rows have"),
                DEFAULT_PROMPT,
            )
        if self._captions:
            captioned = counted(self._captions, "row has", "rows have")
            logger.info("%s: %s several captions; the first is read.", self.where, captioned)
        if self._conversations:
            answered = counted(self._conversations, "row has", "rows have")
            logger.info(
                "%s: %s several answers; the last is read, with those before it as a part of its prompt.",
                self.where,
                answered,
            )
        for column, rows in self._aside.items():
            self._warn_of_captions(column, rows)
        for column in self.unread:
            logger.warning(
                "%s has the column %s, which looks like %s, and is not read.",
                self.where,
                column,
                "a further image" if is_image_file(column) else "a rejected answer or a part of the question",
            )

    def _warn_of_captions(self, column: str, rows: int) -> None:
        column = own_name(unfolded(next(iter(self._table), {})), column)
        logger.warning(
            "%s: %s a question or an answer, and text in the column %s, which is not read beside these columns. To "
            "read it as the answer of every row: --columns=%s --default-prompt=%s",
            self.where,
            counted(rows, "row lacks", "rows lack"),
            brief(column, 60),
            shlex.quote(f"answer={column}"),
            shlex.quote(DEFAULT_PROMPT),
        )


def _caption_aside(row: Mapping[str, Any], read: PreferenceRow) -> str | None:
    """The column of a caption that a row has in the place of its prompt or answer, which are empty, and that is not
    read; None where there is none."""
    fault = read.fault("chosen")
    if fault is None or fault.reason not in ("empty-prompt", "empty-answer") or fault.part == "images":
        return None
    captions = (name for name in CAPTIONS if name not in (*read.shape, "text") and isinstance(row.get(name), str))
    return next((name for name in captions if row[name].strip()), None)


def _lacking(row: Mapping[str, Any], read: PreferenceRow, needs: Sequence[str]) -> list[str]:
    """The prompt and the answers of which a row has no column."""
    given = unfolded(row)
    without_prompt = answer_column(given) if len(read.shape) < 2 else None
    present = {
        "prompt": bool(read.shape) and without_prompt is None,
        "chosen": bool(read.shape and read.shape[-1]) or without_prompt is not None,
        "rejected": rejected_column(given) is not None,
        REJECTED_POLICY: REJECTED_POLICY in given,
    }
    return [name for name in ("prompt", *needs) if not present[name]]


def tables_hint(spec: str) -> str:
    """What to say where a table was not found: a file or folder that is near by name, a close name, or all names."""
    names = suggest(spec, TABLES.names()).replace("There are:", "mmpref's own tables are:")
    return path_hint(spec, names)


def numbered_rows(table: Table, limit: int | None) -> Iterator[tuple[int, Row, str]]:
    """The first rows of a table, each with its number and how an error names it."""
    for number, row in enumerate(islice(table, limit)):
        yield number, row, f"{table.spec} ({table.split}), {row_at(number)}"
