"""Whether the tables that a finished run was made of are still what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import MmprefError
from mmpref.registry import resolve_path
from mmpref.run.inputs import refuse_changed_input, warn_unchecked
from mmpref.tables.open import open_table
from mmpref.tables.table import TABLES, Origin, Table


def refuse_changed_tables(
    run: Path, what: str, tables: Sequence[Mapping[str, Any]], config: str | None = None, origin: Origin | None = None
) -> list[Table | None]:
    """Not to give what was made of one table as made of another that has its name since.

    Only files and folders are read again: a Hub dataset was read at a commit, registered rows belong to the package,
    and rows in memory are named by their content. Of a file that cannot be read any more it is warned.

    Args:
        run: folder of the finished run.
        what: the tables are, such as ``The source``.
        tables: their facts, as the run has them (`mmpref.tables.table.Table.facts`).
        config, origin: as of `mmpref.tables.open.open_table`.

    Returns:
        Each table, None of one that was not read again.

    Raises:
        RunError: one has changed.
    """
    read = [_read_again(run, facts, config, origin) for facts in tables]
    for facts, table in zip(tables, read, strict=True):
        if table and table.fingerprint != facts["fingerprint"]:
            refuse_changed_input(run, f"{what} {facts['id']} has changed")
    return read


def _read_again(run: Path, facts: Mapping[str, Any], config: str | None, origin: Origin | None) -> Table | None:
    spec = facts["id"]
    if facts.get("revision") or spec in TABLES.names() or not facts["fingerprint"].startswith("sha256:"):
        return None
    if not Path(resolve_path(spec)).expanduser().exists():
        warn_unchecked(run, spec, "it is not there")
        return None
    try:
        return open_table(spec, facts["split"], config=config, origin=origin)
    except (MmprefError, OSError) as error:
        warn_unchecked(run, spec, str(error))
        return None
