"""The one door through which rows come in: a registered table, a local file or folder, or a Hub dataset."""

from __future__ import annotations

from pathlib import Path

from mmpref.errors import InputError
from mmpref.hub_ids import hub_page, refuse_revision_here
from mmpref.local_paths import check_hint, is_data_file, is_path
from mmpref.registry import resolve_path, suggest
from mmpref.tables.in_memory import MEMORY, is_in_memory, open_memory
from mmpref.tables.table import HUB_FILE, TABLES, Origin, Table
from mmpref.version import __version__


def open_table(
    spec: str,
    split: str | None = None,
    *,
    config: str | None = None,
    revision: str | None = None,
    origin: Origin | None = None,
) -> Table:
    """Open rows by name (``testbed``), path (file, folder, ``pkg:...``), Hub dataset id or the address of its page,
    as one file of a Hub dataset (``hf://datasets/OWNER/NAME[@REVISION]/PATH``), or rows in memory (``memory:...``).

    Args:
        split: by default ``train``.
        config: configuration name of a Hub dataset, or of a local folder in a Hub dataset's layout.
        revision: branch, tag or commit of a Hub dataset; it is resolved to a commit first.
        origin: how the data set that the spec is a copy of is published: which of a folder's or repository's files
            hold rows.

    Raises:
        InputError: no such table, file, dataset, configuration or split, or a file that cannot be read.
        HubError: the Hub cannot be reached.
        UsageError: a revision of rows that are on this machine.
    """
    split = split or "train"
    spec, revision = _pasted(spec, revision)
    if not _is_remote(spec):
        refuse_revision_here(spec, revision)
    if spec in TABLES.names():
        return _registered(spec, split)
    if is_in_memory(spec):
        return open_memory(spec, split)
    if spec.startswith(HUB_FILE):
        from mmpref.tables._hub import open_hub_file

        return open_hub_file(spec, split, config, revision, origin)
    path = Path(resolve_path(spec)).expanduser()
    if path.exists():
        from mmpref.tables._local import open_local

        return open_local(spec, path, split, config, origin)
    _refuse_no_path(spec, path)
    from mmpref.tables._hub import open_hub

    return open_hub(spec, split, config, revision, origin)


def _is_remote(spec: str) -> bool:
    """Whether a table can only be on the Hub."""
    if spec in TABLES.names() or is_in_memory(spec):
        return False
    return spec.startswith(HUB_FILE) or not Path(resolve_path(spec)).expanduser().exists()


def _pasted(spec: str, revision: str | None) -> tuple[str, str | None]:
    """An address of a dataset's page on the Hub as the name, or the file, that it stands for.

    Raises:
        InputError: it is the page of a model, or of a part of a dataset that holds no rows.
    """
    page = hub_page(spec)
    if page is None:
        return spec, revision
    if page.kind != "dataset":
        raise InputError(
            f"{spec} is the page of a {page.kind}, not of a dataset.",
            "Those of datasets begin with https://huggingface.co/datasets/.",
        )
    at = revision or page.revision
    if is_data_file(page.path):
        # A revision with slashes has no place in such a name; it goes beside it.
        return f"{HUB_FILE}{page.repo_id}/{page.path}", at
    if page.path:
        raise InputError(
            f"{spec} is the page of a folder or of a file that holds no rows.",
            f"Give the whole dataset, {page.repo_id}, or one of its data files.",
        )
    return page.repo_id, at


def refuse_absent(spec: str, split: str | None) -> bool:
    """Look for a table without reading its rows: a registered one and its split, or a file or folder.

    Args:
        split: None for whichever.

    Returns:
        Whether it is to be found on the Hub.

    Raises:
        InputError: there is no such table, split, file or folder, or it is the page of something else.
    """
    spec, _ = _pasted(spec, None)
    if spec in TABLES.names():
        if split:
            _refuse_split_of_table(spec, split)
        return False
    if spec.startswith((MEMORY, HUB_FILE)):
        return spec.startswith(HUB_FILE)
    path = Path(resolve_path(spec)).expanduser()
    if path.exists():
        return False
    _refuse_no_path(spec, path)
    return True


def with_split(name: str, split: str) -> tuple[str, str]:
    """A table and its split, of ``NAME:SPLIT`` or ``NAME``.

    Args:
        split: where none is named.
    """
    spec, colon, named = name.rpartition(":")
    plain = bool(colon) and named.replace("-", "_").isidentifier() and spec not in ("pkg", "hf")
    return (spec, named) if plain and not Path(name).exists() else (name, split)


def _refuse_no_path(spec: str, path: Path) -> None:
    """Refuse what can only be a path, where nothing is there."""
    if is_data_file(path.name) or is_path(spec):
        raise InputError(f"There is no file or folder {spec}.", check_hint(spec))


def refuse_split(spec: str, split: str) -> None:
    """Where a spec is one local file, refuse a split that its name does not say. ``train`` is always accepted, since
    it is the default.

    `open_table` itself takes the file's rows under any split: a benchmark asks for its own split of every source.

    Raises:
        InputError: the file says another split, or none.
    """
    path = Path(resolve_path(spec)).expanduser()
    if spec in TABLES.names() or not path.is_file():
        return
    from mmpref.tables._local import splits_of_file

    if split not in (splits := splits_of_file(path.parent.resolve() / path.name)):
        raise InputError(f"{spec} has no split {split!r}.", suggest(split, splits))


def _refuse_split_of_table(spec: str, split: str) -> None:
    if split not in (splits := TABLES.module(spec).SPLITS):
        raise InputError(f"The table {spec!r} has no split {split!r}.", suggest(split, splits))


def _registered(spec: str, split: str) -> Table:
    _refuse_split_of_table(spec, split)
    rows, module = TABLES.get(spec), TABLES.module(spec)
    fingerprint = f"{spec}/{split} of {module.__name__.split('.')[0]} {__version__}"
    return Table(spec, split, None, fingerprint, getattr(module, "LICENCE", None), lambda: iter(rows(split)))
