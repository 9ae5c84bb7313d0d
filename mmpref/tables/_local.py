"""Local tables: one file, a folder of files of one format, a `save_to_disk` folder, or any layout that the
``datasets`` library knows."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mmpref.errors import InputError, RunError
from mmpref.licence import CARD, licence_of_folder, metadata_of
from mmpref.local_paths import FORMATS, TABULAR, is_data_file
from mmpref.registry import suggest
from mmpref.run.manifest import MANIFEST, STATE
from mmpref.tables._datasets import open_folder, open_saved
from mmpref.tables._files import content_hash, read_files
from mmpref.tables._index import named_files
from mmpref.tables._shards import missing_shards, several_versions, stem_of_shard
from mmpref.tables.table import Origin, Table
from mmpref.text_files import read_text

_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
_NO_DATA = {MANIFEST, "report.json", "results.json", "facts.json", "dataset_infos.json", "dataset_info.json"}

_LISTED = 10
_MAKES_DATA = "build-dataset"


def open_local(spec: str, path: Path, split: str, config: str | None, origin: Origin | None = None) -> Table:
    """Open a file or folder.

    Args:
        origin: whose files the folder may hold a copy of.

    Raises:
        InputError: no data in it or not all, not that split or configuration, or the run of a command that makes no
            data.
        RunError: the folder of a run that is not finished.
    """
    if path.is_file():
        if not is_data_file(path.name):
            raise InputError(f"{spec} is no data file that mmpref reads.", f"Known formats: {', '.join(FORMATS)}.")
        return _of_files(spec, split, [path], path.parent)
    _refuse_other_run(spec, path)
    if (path / STATE).is_dir() and not (path / MANIFEST).is_file():
        raise RunError(f"{spec} is an unfinished run (no {MANIFEST}).", "Run the command that made it again.")
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return open_saved(spec, path, split)
    if origin and (raw := raw_files(origin, [file.relative_to(path).as_posix() for file in path.rglob("*")])):
        refuse_raw_split(spec, split, raw)
        _refuse_gaps(spec, raw)
        archives = [path / name for name in origin.archives if (path / name).is_file()]
        table = _of_files(spec, split, [path / name for name in raw], path)
        return replace(table, archives=(*archives, path) if archives else ())
    by_split = _data_files(path)
    if config is not None or not by_split or len(_configs(path)) > 1:
        _refuse_gaps(spec, _names(path, (file for file in path.rglob("*") if is_data_file(file.name))))
        return open_folder(spec, path, split, config)
    if split not in by_split:
        unnamed = [file for files in by_split.values() for file in files if not _says_split(file.relative_to(path))]
        which = f" Or name one of its files: {_listed(spec, path, unnamed)}." if unnamed else ""
        raise InputError(f"{spec} has no split {split!r}.", suggest(split, sorted(by_split)) + which)
    _refuse_gaps(spec, _names(path, by_split[split]))
    return _of_files(spec, split, by_split[split], path)


def raw_files(origin: Origin, names: Iterable[str]) -> list[str]:
    """The files that hold the rows of a published set, among the paths of a folder or repository."""
    paths = sorted(names)
    for pattern in origin.files:
        if matches := [name for name in paths if fnmatch.fnmatchcase(name, pattern)]:
            return matches
    return []


def refuse_raw_split(spec: str, split: str, names: Sequence[str]) -> None:
    """Files that are read as they are have one split: ``train``, or what the name of a single one says.

    Raises:
        InputError: another was asked for.
    """
    splits = splits_of_file(Path(names[0])) if len(names) == 1 else ["train"]
    if split not in splits:
        raise InputError(f"{spec} has no split {split!r}.", suggest(split, splits))


def _refuse_other_run(spec: str, path: Path) -> None:
    """A finished run of another command has JSON and Parquet files too, but no rows of data in them."""
    try:
        manifest = json.loads(read_text(path / MANIFEST))
    except (InputError, ValueError):
        return
    command = manifest.get("command") if isinstance(manifest, dict) and "recipe" in manifest else None
    if isinstance(command, str) and command != _MAKES_DATA:
        shown = f" `mmpref compare {spec} --html FILE` shows where an adapter answered otherwise than its base."
        hint = shown if command == "evaluate" else ""
        raise InputError(
            f"{spec} is a run of `{command}`, not a dataset.",
            f"Name the run directory of `{_MAKES_DATA}`, or other data.{hint}",
        )


def _names(folder: Path, files: Iterable[Path]) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _refuse_gaps(spec: str, names: Sequence[str]) -> None:
    """Files in a folder are one table: fewer rows would be read where some are lost, or rows of two versions, and
    nobody told."""
    if versions := several_versions(names):
        raise InputError(
            f"{spec} holds files of two versions: {versions[0]} and {versions[1]}.", "Delete those of the older one."
        )
    if missing := missing_shards(names):
        raise InputError(
            f"{spec} lacks {len(missing):,} of its files, such as {missing[0]}.",
            "Fetch or make it again; a single file can be named instead of the folder.",
        )


def _of_files(spec: str, split: str, files: list[Path], root: Path) -> Table:
    read = [one for file in files for one in (file, *named_files(file))]
    licence = licence_of_folder(root.resolve())
    return Table(spec, split, None, content_hash(read, root), licence, lambda: read_files(files), root)


def _data_files(folder: Path) -> dict[str, list[Path]]:
    """Data files by split, in the folder, in ``data`` and in folders named like a split. Files whose name says no
    split are ``train``. A folder of images with a file about them is left to the ``datasets`` library (empty result),
    and so is one with several formats whose card says which files hold the data.

    Raises:
        InputError: files of several formats: the library would read one of them, and not say which.
    """
    places = [folder, *(inner for inner in folder.iterdir() if inner.is_dir() and inner.name in ("data", *_NAMES))]
    readable = sorted(
        file
        for place in places
        for file in place.iterdir()
        if is_data_file(file.name) and file.is_file()
        if file.name not in _NO_DATA and not file.name.startswith((".", "cache-"))
    )
    files = [file for file in readable if is_data_file(file.name, TABULAR)] or readable
    if not files or any(_stem(file) == "metadata" for file in files):
        return {}
    if len(of_format := {_kind(file): file for file in reversed(files)}) > 1:
        if _configs(folder):
            return {}
        names = ", ".join(str(file.relative_to(folder)) for file in sorted(of_format.values()))
        raise InputError(f"{folder} holds data files of several formats, such as {names}.", "Name one file.")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(folder)), []).append(file)
    return by_split


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rpartition(".")[0]


def _kind(file: Path) -> str:
    suffix = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    return "json" if "json" in suffix else suffix


def _split_of(file: Path) -> str:
    return _says_split(file) or "train"


def _says_split(file: Path) -> str | None:
    """The split that the name of a file, or of a folder that it is in, says; None where none does."""
    if stem := stem_of_shard(_stem(file)):
        return stem
    words = [word for part in (_stem(file), *reversed(file.parent.parts)) for word in re.split(r"[-_. ]", part.lower())]
    return next((_NAMES[word] for word in words if word in _NAMES), None)


def _listed(spec: str, folder: Path, files: Sequence[Path]) -> str:
    names = [f"{spec.rstrip('/')}/{file.relative_to(folder).as_posix()}" for file in files]
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def splits_of_file(file: Path) -> list[str]:
    """The splits under which a single file may be asked for: ``train``, and what its name or its folder's says."""
    splits = {_split_of(Path(file.name)), _NAMES.get(file.parent.name.lower(), "train")}
    words = re.split(r"[-_. ]", _stem(file).lower())
    return sorted({"train", *splits, *(word for word in words if _NAMES.get(word) in splits)})


def _configs(folder: Path) -> list[object]:
    """Configurations that the folder's card names; none where there is no card, or a broken one, which says nothing
    about the data files beside it."""
    try:
        configs = (metadata_of(read_text(folder / CARD)) or {}).get("configs")
    except InputError:
        return []
    return configs if isinstance(configs, list) else []
