"""A table: the rows of one split, read anew on every iteration, and what is known of where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mmpref.registry import Registry, suggest

Row = dict[str, Any]


Rows = Callable[[str], Iterable[Row]]


TABLES: Registry[Rows] = Registry("table", "mmpref.tables", "rows")
"""Tables that installed packages make on demand: a module with ``rows(split) -> Iterable[dict]`` and ``SPLITS``, and
where it has one a ``LICENCE``."""


HUB_FILE = "hf://datasets/"


_TEXT_FORMATS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")


TABULAR = (*_TEXT_FORMATS, ".parquet", *(f"{suffix}.gz" for suffix in _TEXT_FORMATS))


FORMATS = (*TABULAR, ".arrow", ".tar", ".tar.gz")
"""Suffixes of the data files that are read without the ``datasets`` library's cache. Beside tabular files, those of the
other formats are taken for something else (caches, archives of images)."""


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
    """

    spec: str
    split: str
    revision: str | None
    fingerprint: str
    licence: str | None
    rows: Callable[[], Iterator[Row]]
    root: Path | None = None
    archives: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    @property
    def name(self) -> str:
        """The spec without the folders of this machine: what may be written into rows that are published."""
        return Path(self.spec).name or "local" if self.root else self.spec

    @property
    def images(self) -> tuple[Path, ...]:
        """Folders and archives that image paths in the rows are relative to."""
        return self.archives or ((self.root,) if self.root else ())

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


def is_data_file(name: str, formats: tuple[str, ...] = FORMATS) -> bool:
    """Whether a file of that name is read as rows, whatever the letter case of its ending."""
    return name.lower().endswith(formats)


def tables_hint(spec: str) -> str:
    """What to say where a table was not found: a close name, or the names of all."""
    return suggest(spec, TABLES.names()).replace("There are:", "mmpref's own tables are:")


def numbered_rows(table: Table, limit: int | None) -> Iterator[tuple[int, Row, str]]:
    """The first rows of a table, each with its number and how an error names it."""
    for number, row in enumerate(islice(table, limit)):
        yield number, row, f"{table.spec} ({table.split}), row {number}"
