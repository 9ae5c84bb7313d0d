"""The one door through which rows come in: a registered table, a local file or folder, or a Hub dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref import __version__
from mmpref.errors import HubError, InputError, UsageError
from mmpref.registry import Registry, resolve_path, suggest

Row = dict[str, Any]
Rows = Callable[[str], Iterable[Row]]

TABLES: Registry[Rows] = Registry("table", "mmpref.tables", "rows")
"""Tables that installed packages make on demand: a module with ``rows(split) -> Iterable[dict]`` and ``SPLITS``."""

_JSON = (".json", ".jsonl", ".ndjson")
_FORMATS = (*_JSON, ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows of one split, read anew on every iteration.

    Args:
        spec: what the user asked for.
        split: which part.
        revision: the Hub commit, or None.
        fingerprint: identifies the content: the commit, a hash of local files, or the package's version.
        licence: as the Hub card states it, or None.
        rows: makes an iterator of raw rows; image cells are ``{"bytes": ..., "path": ...}`` or paths.
    """

    spec: str
    split: str
    revision: str | None
    fingerprint: str
    licence: str | None
    rows: Callable[[], Iterator[Row]]

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def facts(self) -> dict[str, Any]:
        """For manifests and cards."""
        return {
            "id": self.spec,
            "split": self.split,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "licence": self.licence,
        }


def open_table(spec: str, split: str | None = None, *, config: str | None = None, revision: str | None = None) -> Table:
    """Open rows by name (``testbed``), path (file, folder, ``pkg:...``) or Hub dataset id.

    Args:
        split: by default ``train``.
        config: configuration name of a Hub dataset.
        revision: branch, tag or commit of a Hub dataset; it is resolved to a commit first.

    Raises:
        InputError: no such table, file, dataset or split, or a file that cannot be read.
        HubError: the Hub cannot be reached.
    """
    split = split or "train"
    if spec in TABLES.names():
        return _registered(spec, split)
    path = Path(resolve_path(spec))
    if path.exists():
        return _local(spec, path, split)
    if path.suffix in _FORMATS or spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise InputError(f"There is no file or folder {spec}.", "Check the path.")
    return _hub(spec, split, config, revision)


def _registered(spec: str, split: str) -> Table:
    rows = TABLES.get(spec)
    splits: tuple[str, ...] = TABLES.module(spec).SPLITS
    if split not in splits:
        raise InputError(f"The table {spec!r} has no split {split!r}.", suggest(split, splits))
    fingerprint = f"{spec}/{split} of {TABLES.module(spec).__name__.split('.')[0]} {__version__}"
    return Table(spec, split, None, fingerprint, "apache-2.0", lambda: iter(rows(split)))


def _local(spec: str, path: Path, split: str) -> Table:
    if path.is_file():
        files = [path]
    elif (path / "dataset_info.json").is_file() and (path / "state.json").is_file():
        return _saved_to_disk(spec, path, split)
    else:
        files = _files_of_split(spec, path, split)
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with open(file, "rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
    return Table(spec, split, None, f"sha256:{digest.hexdigest()}", None, lambda: _read_files(files))


def _files_of_split(spec: str, path: Path, split: str) -> list[Path]:
    found = sorted(
        file
        for folder in (path, path / "data")
        if folder.is_dir()
        for file in folder.iterdir()
        if file.suffix in _FORMATS and file.name not in ("run.json", "report.json", "facts.json", "results.json")
    )
    if not found:
        raise InputError(f"{spec} holds no data file.", f"Known formats: {', '.join(_FORMATS)}.")
    splits = {file: file.stem.split("-")[0].split(".")[0] for file in found}
    named = [file for file in found if splits[file] == split]
    if named:
        return named
    if len(found) == 1 and split == "train":
        return found
    raise InputError(f"{spec} has no split {split!r}.", suggest(split, sorted(set(splits.values()))))


def _saved_to_disk(spec: str, path: Path, split: str) -> Table:
    import datasets

    loaded = datasets.load_from_disk(str(path))
    return Table(spec, split, None, f"datasets:{loaded._fingerprint}", None, lambda: _undecoded(loaded))


def _read_files(files: list[Path]) -> Iterator[Row]:
    for file in files:
        yield from _read_parquet(file) if file.suffix == ".parquet" else _read_json(file)


def _read_parquet(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
        for batch in opened.iter_batches(batch_size=64):
            yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file} cannot be read as Parquet: {error}.") from error


def _read_json(file: Path) -> Iterator[Row]:
    """One JSON array of rows, or one row a line."""
    with open(file, encoding="utf-8") as opened:
        first = opened.read(1)
        while first.isspace():
            first = opened.read(1)
        opened.seek(0)
        if first == "[":
            try:
                rows = json.load(opened)
            except ValueError as error:
                raise InputError(f"{file} is not JSON: {error}.") from error
            yield from _mappings(file, enumerate(rows, 1), "row")
        else:
            yield from _mappings(file, _json_lines(file, opened), "line")


def _json_lines(file: Path, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise InputError(f"{file}, line {number} is not JSON: {error}.", "One JSON object a line.") from error


def _mappings(file: Path, rows: Iterable[tuple[int, Any]], unit: str) -> Iterator[Row]:
    for number, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{file}, {unit} {number} is a {type(row).__name__}, not a row (a JSON object).")
        yield row


def _hub(spec: str, split: str, config: str | None, revision: str | None) -> Table:
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi()
    try:
        info = api.dataset_info(spec, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        known = suggest(spec, TABLES.names())
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"There is no dataset {spec!r}, here or on the Hub ({reason}).", f"Tables: {known}") from error
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HubError(f"There is no file or table {spec!r}, and the Hub at {api.endpoint} cannot be asked: {reason}.",
                       "Check the name and the network.") from error  # fmt: skip
    try:
        loaded = datasets.load_dataset(spec, config, split=split, revision=info.sha)
    except (ValueError, FileNotFoundError, RuntimeError, datasets.exceptions.DatasetNotFoundError) as error:
        raise InputError(f"The dataset {spec} cannot be loaded (split {split!r}): {' '.join(str(error).split())[:300]}",
                         "Check the split and configuration on its Hub page.") from error  # fmt: skip
    licence = info.card_data.get("license") if info.card_data else None
    return Table(spec, split, info.sha, info.sha or "", licence if isinstance(licence, str) else None,
                 lambda: _undecoded(loaded))  # fmt: skip


def _undecoded(loaded: Any) -> Iterator[Row]:
    """Rows with image cells as bytes, so that a broken image is the row's fault and not the table's."""
    import datasets

    def undecoded(feature: Any) -> Any:
        if isinstance(feature, datasets.Image):
            return datasets.Image(decode=False)
        if isinstance(feature, datasets.List):
            return datasets.List(undecoded(feature.feature))
        return feature

    features = datasets.Features({name: undecoded(feature) for name, feature in loaded.features.items()})
    try:
        yield from loaded.cast(features)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The rows of this dataset cannot be read: {error}") from error
