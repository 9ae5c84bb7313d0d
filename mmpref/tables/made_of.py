"""Whether the tables that a finished run was made of are still what they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import MmprefError
from mmpref.registry import resolve_path
from mmpref.run.inputs import refuse_finished, warn_unchecked
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.open import open_table
from mmpref.tables.table import TABLES, Origin, Table


def refuse_changed_tables(
    run: Path, what: str, tables: Iterable[Mapping[str, Any]], config: str | None = None, origin: Origin | None = None
) -> list[Table]:
    """Not to give what was made of one table as made of another that has its name since.

    Only files and folders are read again: a Hub dataset was read at a commit, registered rows belong to the package,
    and rows in memory are named by their content. Of a file that cannot be read any more it is warned.

    Args:
        run: folder of the finished run.
        what: the tables are, such as ``The source``.
        tables: their facts, as the run has them (`mmpref.tables.table.Table.facts`).
        config, origin: as of `mmpref.tables.open.open_table`.

    Returns:
        Those that could be read again.

    Raises:
        RunError: one has changed.
    """
    read = []
    for facts in tables:
        spec = facts["id"]
        if facts.get("revision") or spec in TABLES.names() or not facts["fingerprint"].startswith("sha256:"):
            continue
        if not Path(resolve_path(spec)).expanduser().exists():
            warn_unchecked(run, spec, "it is not there")
            continue
        try:
            table = open_table(spec, facts["split"], config=config, origin=origin)
        except (MmprefError, OSError) as error:
            warn_unchecked(run, spec, str(error))
            continue
        if table.fingerprint != facts["fingerprint"]:
            refuse_finished(run, f"{what} {spec} has changed")
        read.append(table)
    return read


def refuse_found_images(run: Path, names: Iterable[str], roots: Iterable[str | Path]) -> None:
    """Not to pass rows over whose images were missing when a finished run was made, and are there now.

    Args:
        run: folder of the finished run.
        names: paths of the images that were missing.
        roots: folders and archives that they are relative to.

    Raises:
        RunError: one is found.
    """
    missing = list(names)
    if not missing:
        return
    try:
        places = ImageRoots(list(roots))
    except MmprefError as error:
        warn_unchecked(run, "the image root", str(error))
        return
    if found := [name for name in missing if places.finds(name)]:
        more = f", and {len(found) - 1:,} more" if len(found) > 1 else ""
        refuse_finished(run, f"An image that was missing is found ({found[0]}{more}), so the rows have changed")
