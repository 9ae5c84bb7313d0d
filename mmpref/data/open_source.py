"""What a build reads, as it was when the run began: its tables, pinned, and the images that they lack."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmpref.data.select import Excluded
from mmpref.data.sources import MISSING
from mmpref.errors import ImageError, InputError, RunError, brief
from mmpref.licence import together
from mmpref.log import logger
from mmpref.run.directory import Run
from mmpref.run.files import write_atomic
from mmpref.tables.conversations import read_row
from mmpref.tables.image_cells import image_cells, read_image
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.open import open_table
from mmpref.tables.table import Origin, Table
from mmpref.types import Skip

MISSING_LIST = "missing-images.txt"


class _Recipe(Protocol):
    """What a recipe says of its source besides the name."""

    @property
    def split(self) -> str: ...
    @property
    def source_config(self) -> str | None: ...
    @property
    def source_revision(self) -> str | None: ...


def open_tables(
    run: Run, source: Sequence[str] | str | None, recipe: _Recipe, origin: Origin | None = None
) -> list[Table]:
    """The tables of a source as they were when the run began: a Hub dataset at that commit, a file only if it has not
    changed.

    Args:
        source: one or several names; None for the first repository of the origin that exists.
        origin: where the method's own source is published.

    Raises:
        InputError: a source that cannot be read, or a revision for several.
        RunError: a source that has changed.
    """
    began = run.pinned("source").get("tables", [])
    specs = [source] if isinstance(source, str) else list(source or ())
    if len(specs) > 1 and recipe.source_revision:
        raise InputError(
            "One source revision cannot hold for several sources.", "Name each as hf://datasets/OWNER/NAME@REVISION."
        )
    if not specs and origin:
        specs = [began[0]["id"]] if began else [""]
    tables = []
    for number, spec in enumerate(specs):
        then = began[number] if began else {}
        revision = then.get("revision") or recipe.source_revision
        table = (
            open_table(spec, recipe.split, config=recipe.source_config, revision=revision, origin=origin)
            if spec
            else _first_of(origin, recipe, revision)
        )
        if then and then["fingerprint"] != table.fingerprint:
            raise RunError(f"The source {spec} has changed since {run.path} was begun.", "Choose another --output.")
        tables.append(table)
    run.pin("source", {"tables": [table.facts() for table in tables]})
    return tables


def _first_of(origin: Origin | None, recipe: _Recipe, revision: str | None) -> Table:
    refused: list[InputError] = []
    for repo in origin.repos if origin else ():
        try:
            return open_table(repo, recipe.split, config=recipe.source_config, revision=revision, origin=origin)
        except InputError as error:
            refused.append(error)
    reasons = " ".join(error.message for error in refused)
    raise InputError(
        f"The published set cannot be read. {reasons}", "Name another copy of it, or files of your own, with --source."
    )


def open_excluded(run: Run, names: Sequence[str]) -> Excluded | None:
    """The images that no example may have; None where no table is named.

    Args:
        names: ``NAME`` or ``NAME:SPLIT`` of tables; the split is ``test`` unless told otherwise.

    Raises:
        InputError: a table that cannot be read, or has no image that can be recognised.
        RunError: a table that has changed since the run began.
    """
    if not names:
        return None
    tables = []
    for name in names:
        spec, colon, split = name.rpartition(":")
        named = bool(colon) and split.replace("-", "_").isidentifier() and spec not in ("pkg", "hf")
        tables.append(open_table(spec if named else name, split if named else "test"))
    facts = {"tables": [table.facts() for table in tables]}
    if (began := run.pinned("excluded")) and began != facts:
        raise RunError(
            f"The data of --exclude-images-of has changed since {run.path} was begun.", "Choose another --output."
        )
    run.pin("excluded", facts)
    excluded = Excluded()
    for table in tables:
        _exclude(excluded, table)
    return excluded


def _exclude(excluded: Excluded, table: Table) -> None:
    """Add the images of a table, and say of how many there is nothing to recognise them by. Where an image cannot be
    read, a COCO name will do."""
    roots, where = ImageRoots(table.images), f"{table.spec} ({table.split})"
    images, lost, first = 0, 0, ""
    for row in table:
        for cell in _cells(row):
            images += 1
            try:
                excluded.add(read_image(cell, roots))
            except ImageError as error:
                if not (isinstance(cell, str) and excluded.add_name(cell)):
                    lost, first = lost + 1, first or str(error)
    if lost == images:
        raise InputError(f"No image of {where} can be read, so none can be excluded.", first)
    if lost:
        logger.warning(
            "Warning: %d of %d images of %s cannot be read, and rows with them are not left out. First: %s",
            lost,
            images,
            where,
            brief(first, 300),
        )


def _cells(row: Mapping[str, Any]) -> Sequence[Any]:
    """The image cells of a row of any shape: of its image column, or of its messages."""
    if cells := image_cells(row):
        return cells
    with contextlib.suppress(InputError):
        return read_row(row, "a row", bare=True).images
    return []


def source_facts(tables: Sequence[Table]) -> dict[str, Any]:
    """What a manifest says of its source; of several, what they have in common and each of them."""
    if len(tables) == 1:
        return tables[0].facts()
    each = [table.facts() for table in tables]
    # Where one of several states none, nobody states what holds for all.
    licences = together(table.licence or "unknown" for table in tables)
    joined = hashlib.sha256("\0".join(table.fingerprint for table in tables).encode()).hexdigest()
    return {
        "id": " + ".join(table.name for table in tables),
        "split": tables[0].split,
        "fingerprint": f"sha256:{joined}",
        "licence": None if licences == "unknown" else licences,
        "sources": each,
    }


def write_missing(folder: Path, skips: Iterable[Skip]) -> None:
    """List every image that no root has, a path a line; no file where none is missing."""
    names = sorted({skip.detail for skip in skips if skip.reason == MISSING})
    if names:
        write_atomic(folder / MISSING_LIST, "".join(f"{' '.join(name.split())}\n" for name in names))
