"""What a build reads, as it was when the run began: its tables, pinned, and the images that they lack."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmpref.data.sources import MISSING
from mmpref.errors import InputError, RunError
from mmpref.licence import together
from mmpref.run.directory import Run
from mmpref.run.files import write_atomic
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
