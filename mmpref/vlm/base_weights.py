"""The weights of a base that is a folder. An adapter remembers them: what a folder is called says not what it holds."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from mmpref.errors import ModelError
from mmpref.registry import resolve_path
from mmpref.run.manifest import WEIGHTS
from mmpref.types import ModelRef
from mmpref.vlm.revisions import run_of_adapter


def folder_weights(model: str) -> dict[str, str]:
    """The SHA-256 of each file with weights of a folder, by its name; nothing of a model of the Hub, which a commit
    tells from others."""
    folder = Path(resolve_path(model))
    files = sorted(file for file in folder.iterdir() if file.name.endswith(WEIGHTS)) if folder.is_dir() else []
    return {file.name: file_digest(file) for file in files if file.is_file()}


def file_digest(file: Path) -> str:
    """The SHA-256 (hex) of a file; read once in a process, as long as it does not change."""
    found = file.stat()
    return _digest(file, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(file: Path, _size: int, _changed: int) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def weights_trained_on(adapter: str, commit: str | None) -> Mapping[str, str]:
    """Those of the base that an adapter was trained on; nothing where its ``run.json`` does not say.

    Args:
        commit: of the Hub; None for a folder.
    """
    known = run_of_adapter(adapter, commit).get("model_weights")
    return known if isinstance(known, Mapping) else {}


def refuse_other_weights(ref: ModelRef) -> bool:
    """See that an adapter is put on what it was trained on, where both bases are folders, wherever the adapter is.

    Args:
        ref: with the adapter's commit, where it is of the Hub.

    Returns:
        Whether that is known to be so.

    Raises:
        ModelError: the base has other weights than the adapter was trained on.
    """
    assert ref.adapter is not None
    if not (trained_on := weights_trained_on(ref.adapter, ref.adapter_revision)):
        return False
    here = folder_weights(ref.model)
    if not (both := sorted(trained_on.keys() & here.keys())):  # a model of the Hub, or sharded otherwise
        return False
    if other := [name for name in both if trained_on[name] != here[name]]:
        raise ModelError(
            f"The adapter {ref.adapter} was trained on other weights than {ref.model} holds now ({other[0]}).",
            "Name the model that it was trained on, or train it again.",
        )
    return True
