"""Where models and adapters come from: commit, licence and fingerprint, found before any weights are loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.hub_cache import cache_first, commit_at, file_at, was_silent
from mmpref.hub_ids import refuse_page, refuse_revision_here
from mmpref.licence import CARD, UNREADABLE, licence_of_card, licence_of_folder
from mmpref.origins.model_files import digests, file_digest, joint_digest
from mmpref.registry import resolve_path
from mmpref.run.manifest import MANIFEST
from mmpref.run.training_images import TRAINING_IMAGES, read_training_images
from mmpref.tables.in_memory import is_in_memory
from mmpref.text_files import read_json, read_text
from mmpref.types import ModelRef

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
CONFIG = "adapter_config.json"


def ref_of(spec: str) -> ModelRef:
    """The model that ``ID``, ``ID@REVISION`` or a folder names, whatever the folder is called."""
    model, at, revision = spec.rpartition("@")
    return ModelRef(model, revision) if at and not Path(resolve_path(spec)).exists() else ModelRef(spec)


def commit_of(model: str, revision: str | None, file: str = "config.json") -> str | None:
    """The commit of a Hub repository at a revision, out of the cache where the Hub does not answer; None for a folder.

    Args:
        file: one that the repository has.

    Raises:
        OSError: no such repository, revision or file.
        UsageError: a revision of a folder.
    """
    if is_in_memory(model):
        return None
    if Path(resolve_path(model)).exists():
        refuse_revision_here(model, revision)
        return None
    return commit_at(model, revision, file)


def licence_of(model: str, commit: str | None) -> str | None:
    """The licence that the card of a model names, or None where there is no card, or none of it can be read."""
    from huggingface_hub import hf_hub_download

    if commit is None:
        stated = licence_of_folder(Path(resolve_path(model)))
    else:
        try:
            # A card is worth no wait: where the Hub does not answer, the licence is that of the cached one, if any.
            card = hf_hub_download(model, CARD, revision=commit, local_files_only=was_silent())
            stated = licence_of_card(read_text(Path(card)))
        except (OSError, ValueError, InputError):
            return None
    return None if stated == UNREADABLE else stated


def adapter_facts(adapter: str, revision: str | None) -> dict[str, Any]:
    """What identifies an adapter: ``id``, ``revision`` (its commit; None for a folder), the SHA-256 of its ``weights``,
    and of a folder also of its ``config``, which says how much they count.

    Raises:
        OSError: no such adapter.
    """
    from huggingface_hub import hf_hub_download

    refuse_page(adapter)
    if Path(adapter).exists():
        refuse_revision_here(adapter, revision, "--adapter-revision")
        commit, folder = None, Path(adapter)
        file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    else:
        commit = commit_of(adapter, revision, CONFIG)
        file = None
        with cache_first(adapter, commit):
            for name in WEIGHTS:
                with contextlib.suppress(OSError):
                    file = file or Path(hf_hub_download(adapter, name, revision=commit))
    if file is None:
        a_model = "; it is a model" if commit is None and (Path(adapter) / "config.json").is_file() else ""
        raise OSError(f"{adapter} holds no adapter weights ({' or '.join(WEIGHTS)}){a_model}")
    facts = {"id": adapter, "revision": commit, "weights": file_digest(file)}
    if commit is None and (config := Path(adapter) / CONFIG).is_file():
        facts["config"] = joint_digest(digests([config]))
    return facts


def run_of_adapter(adapter: str, commit: str | None) -> Mapping[str, Any]:
    """The manifest of the training run that an adapter comes with; empty where it comes with none, or a broken one.

    Args:
        commit: of the Hub; None for a folder.
    """
    file = _beside(adapter, commit, MANIFEST)
    try:
        content = read_json(file) if file else {}
    except (InputError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def training_images_of(adapter: str, commit: str | None) -> frozenset[str]:
    """Digests of the images that an adapter was trained on; none where it does not come with them.

    Args:
        commit: of the Hub; None for a folder.
    """
    return read_training_images(_beside(adapter, commit, TRAINING_IMAGES))


def _beside(adapter: str, commit: str | None, name: str) -> Path | None:
    """A file that an adapter comes with, or where it would lie in its folder; None where its repository has none."""
    folder = Path(adapter)
    return folder / name if folder.exists() else file_at(adapter, commit, name)
