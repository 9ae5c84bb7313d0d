"""What a build reads, as it was when the run began: its tables, pinned, and the images that they lack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from mmpref.errors import InputError, RunError
from mmpref.licence import join_sources
from mmpref.run.directory import Run
from mmpref.run.files import write_atomic
from mmpref.run.inputs import refuse_changed_input
from mmpref.tables.open import open_table
from mmpref.tables.table import Origin, Table
from mmpref.types import Skip

MISSING_LIST = "missing-images.txt"


def open_tables(
    run: Run,
    source: Sequence[str] | str | None,
    split: str,
    config: str | None = None,
    revision: str | None = None,
    origin: Origin | None = None,
    begun: Mapping[str, Any] | None = None,
) -> list[Table]:
    """The tables of a source as they were when the run began: a Hub dataset at that commit, a file only if it has not
    changed.

    Args:
        source: one or several names; None for the first repository of the origin that exists.
        config, revision: of a Hub source.
        origin: where the method's own source is published.
        begun: `source_facts` of an earlier run, whose tables this run goes on with.

    Raises:
        InputError: a source that cannot be read, or a revision for several.
        RunError: a source that has changed.
    """
    earlier = begun.get("sources", [begun]) if begun else []
    pinned_tables = run.pinned("source").get("tables", earlier)
    specs = [source] if isinstance(source, str) else list(source or ())
    if len(specs) > 1 and revision:
        raise InputError(
            "One source revision cannot hold for several sources.", "Name each as hf://datasets/OWNER/NAME@REVISION."
        )
    if not specs and origin:
        specs = [pinned_tables[0]["id"]] if pinned_tables else [""]
    tables = []
    for number, spec in enumerate(specs):
        pinned = pinned_tables[number] if pinned_tables else {}
        at_revision = partial(
            open_table, split=split, config=config, revision=pinned.get("revision") or revision, origin=origin
        )
        table = at_revision(spec) if spec or not origin else _first_of(origin, at_revision)
        if pinned and pinned["fingerprint"] != table.fingerprint:
            if earlier:
                raise RunError(
                    f"The source {spec} has changed since earlier rounds were built on it.", "Choose another --output."
                )
            refuse_changed_input(run.path, f"The source {spec} has changed")
        tables.append(table)
    run.pin("source", {"tables": [table.facts() for table in tables]})
    return tables


def _first_of(origin: Origin, open_repo: Callable[[str], Table]) -> Table:
    errors: list[InputError] = []
    for repo in origin.repos:
        try:
            return open_repo(repo)
        except InputError as error:
            errors.append(error)
    reasons = " ".join(error.message for error in errors)
    raise InputError(
        f"The published set cannot be read. {reasons}", "Name another copy of it, or files of your own, with --source."
    )


def source_facts(tables: Sequence[Table]) -> dict[str, Any]:
    """What a manifest says of its source; of several, what they have in common and each of them."""
    if len(tables) == 1:
        return tables[0].facts()
    joined = hashlib.sha256("\0".join(table.fingerprint for table in tables).encode()).hexdigest()
    named = " + ".join(table.name for table in tables)
    common = {"id": named, "split": tables[0].split, "fingerprint": f"sha256:{joined}"}
    return join_sources(common, [table.facts() for table in tables])


def write_missing_images(run: Run, skips: Iterable[Skip]) -> None:
    """List every image that no root has, a path a line; no file where none is missing."""
    names = sorted({name for skip in skips for name in skip.missing})
    if names:
        write_atomic(run.path / MISSING_LIST, "".join(f"{' '.join(name.split())}\n" for name in names))
