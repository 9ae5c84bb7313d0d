"""The weights of a base. An adapter remembers those of a folder, since what it is called says not what it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mmpref.errors import ModelError
from mmpref.hub_cache import snapshot_of
from mmpref.hub_ids import is_commit
from mmpref.log import logger
from mmpref.origins.model_files import digests, file_digest
from mmpref.origins.revisions import run_of_adapter
from mmpref.registry import resolve_path
from mmpref.run.manifest import WEIGHTS
from mmpref.types import ModelRef

_SHA256 = re.compile(r"[0-9a-f]{64}")


def folder_weights(model: str) -> dict[str, str]:
    """The SHA-256 of each file with weights of a folder, by its name; nothing of a model of the Hub, which a commit
    tells from others."""
    return digests(_files(Path(resolve_path(model))))


def cached_weights(model: str, commit: str | None) -> dict[str, str]:
    """The same of a model of the Hub, as far as it is cached; nothing of a folder."""
    if not is_commit(commit) or Path(resolve_path(model)).exists():
        return {}
    # The cache names the files that it links to by their SHA-256, where they are large (LFS).
    blobs = {file: file.resolve().name for file in _files(snapshot_of(model, str(commit)))}
    return {file.name: blob if _SHA256.fullmatch(blob) else file_digest(file) for file, blob in blobs.items()}


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in files if file.name.endswith(WEIGHTS) and file.is_file()]


def weights_trained_on(adapter: str, commit: str | None) -> Mapping[str, str]:
    """Those of the base that an adapter was trained on; nothing where its ``run.json`` does not say.

    Args:
        commit: of the Hub; None for a folder.
    """
    known = run_of_adapter(adapter, commit).get("model_weights")
    return known if isinstance(known, Mapping) else {}


def refuse_other_weights(ref: ModelRef) -> bool:
    """See that an adapter that was trained on a folder is put on the same weights, wherever the adapter is.

    It is warned of a base of the Hub that has others: the same model, saved anew, is other bytes.

    Args:
        ref: with the commits of base and adapter, where they are of the Hub.

    Returns:
        Whether the weights of both are known.

    Raises:
        ModelError: the base is a folder that has other weights than the adapter was trained on.
    """
    assert ref.adapter is not None
    if not (trained_on := weights_trained_on(ref.adapter, ref.adapter_revision)):
        return False
    on_hub = cached_weights(ref.model, ref.revision)
    here = on_hub or folder_weights(ref.model)
    if not (both := sorted(trained_on.keys() & here.keys())):  # not cached yet, or sharded otherwise
        return False
    other = [name for name in both if trained_on[name] != here[name]]
    if other and on_hub:
        logger.warning(
            "Warning: the adapter %s was trained on other weights than %s has at %s (%s).",
            ref.adapter,
            ref.model,
            str(ref.revision)[:8],
            other[0],
        )
    elif other:
        raise ModelError(
            f"The adapter {ref.adapter} was trained on other weights than {ref.model} holds now ({other[0]}).",
            "Name the model that it was trained on, or train it again.",
        )
    return True
