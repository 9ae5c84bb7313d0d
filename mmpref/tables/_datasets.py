"""Tables that the unmodified ``datasets`` library opens. Image cells stay encoded, so that a broken image is its
row's fault and not the table's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.hub_cache import unwritable
from mmpref.licence import licence_of_folder
from mmpref.local_paths import FORMATS
from mmpref.registry import suggest
from mmpref.tables._files import content_hash
from mmpref.tables.table import Table

_BATCH = 32


def open_saved(spec: str, path: Path, split: str) -> Table:
    """A folder that ``save_to_disk`` made, of one split or of several.

    Raises:
        InputError: it is damaged, or has no such split.
    """
    import datasets

    whole = path
    with load_errors(spec):
        loaded = datasets.load_from_disk(str(path))
    licence = licence_of_folder(path.resolve())
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise InputError(f"{spec} has no split {split!r}.", suggest(split, list(loaded)))
        loaded = loaded[split]
        path = path / split
    files = sorted(file for file in path.iterdir() if file.suffix == ".arrow")
    licence = licence or " ".join((loaded.info.license or "").split()) or None
    return Table(spec, split, None, content_hash(files, path), licence, lambda: undecoded(loaded, [whole]), whole)


def open_folder(spec: str, path: Path, split: str, config: str | None) -> Table:
    """A folder in any other layout that ``load_dataset`` knows (image folders, several configurations).

    Raises:
        InputError: the library finds no data, configuration or split of that name in it.
    """
    import datasets

    if not any(path.iterdir()):
        raise InputError(f"{spec} is an empty folder.", f"Known formats: {', '.join(FORMATS)}.")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    fingerprint = content_hash(files, path)
    # A cache of its own: the library's forgets to look whether the files of a card's configurations have changed.
    cache = Path(datasets.config.HF_DATASETS_CACHE) / f"mmpref-{fingerprint.removeprefix('sha256:')[:16]}"
    with load_errors(spec):
        loaded = datasets.load_dataset(str(path), config, split=split, cache_dir=str(cache))
    licence = licence_of_folder(path.resolve())
    return Table(spec, split, None, fingerprint, licence, lambda: undecoded(loaded, [path]), path)


@contextlib.contextmanager
def load_errors(what: str) -> Iterator[None]:
    """Turn the library's refusals, which say what there is, into errors that name the dataset."""
    import datasets
    import pyarrow as pa

    refusals = (datasets.exceptions.DatasetsError, ValueError, OSError, RuntimeError, KeyError, TypeError)
    try:
        yield
    except (*refusals, pa.ArrowException) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(
            f"The dataset {what} cannot be loaded: {reason[:400]}",
            unwritable(error) or "Check the split, the configuration and the files.",
        ) from error


def undecoded(loaded: Any, roots: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Rows with image cells as ``{"bytes", "path"}``. A cell that is only a path is read if it lies under a root:
    a dataset must not make us read, and then publish, other files of this machine."""
    columns = [name for name, feature in loaded.features.items() if _has_image(feature)]
    arrow = loaded.with_format("arrow")
    for start in range(0, len(loaded), _BATCH):
        batch = arrow[start : min(start + _BATCH, len(loaded))]
        with load_errors("in Arrow files"):
            batch.validate(full=True)  # offsets that lead out of a file would end the process
        for row in batch.to_pylist():
            for name in columns:
                row[name] = _with_bytes(row[name], roots)
            yield row


def _has_image(feature: Any) -> bool:
    import datasets

    inner = getattr(feature, "feature", feature)
    return isinstance(inner, datasets.Image)


def _with_bytes(cell: Any, roots: Sequence[Path]) -> Any:
    if isinstance(cell, list):
        return [_with_bytes(item, roots) for item in cell]
    if not isinstance(cell, dict) or cell.get("bytes") is not None or not cell.get("path"):
        return cell
    path = Path(cell["path"]).resolve()
    if path.is_file() and any(path.is_relative_to(root.resolve()) for root in roots):
        return {"bytes": path.read_bytes(), "path": path.name}
    return cell
