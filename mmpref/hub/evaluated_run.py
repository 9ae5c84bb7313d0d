"""The training run of this machine that an evaluation is of: beside it, its results can be shown before anything is on
the Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import RunError, UsageError
from mmpref.hub.evaluated_model import ADAPTER_WEIGHTS
from mmpref.run.manifest import WEIGHTS, is_whole_model, read_manifest


def evaluated_run(path: Path, manifest: Mapping[str, Any]) -> Path:
    """The folder of the training run whose adapter, or whole model, was evaluated.

    Args:
        path: of the evaluation.
        manifest: of it.

    Raises:
        UsageError: what was evaluated is no training run of this machine, or is another one now.
    """
    evaluated: Mapping[str, Any] = manifest.get("adapter") or manifest.get("model") or {}
    name = str(evaluated.get("id") or "")
    run = Path(name).expanduser()
    trained = _training(run)
    if trained is None:
        raise UsageError(
            f"The results of {path} go into the card of what was evaluated, and {name or 'it'} is no training run of "
            "this machine.",
            "Evaluate the training run's folder, publish them without --to-folder (with --create-pr, to see the change "
            "first), or write the records alone: --hub-dataset-id=NAMESPACE/NAME",
        )
    if is_whole_model(trained):
        known: Mapping[str, str] = manifest.get("model_weights") or {}
        same = all(known.get(file.name) == _sha256(file) for file in run.iterdir() if file.name.endswith(WEIGHTS))
    else:
        files = [run / file for file in ADAPTER_WEIGHTS if (run / file).is_file()]
        same = any(_sha256(file) == evaluated.get("weights") for file in files)
    if not same:
        raise UsageError(f"{path} evaluated other weights than those that are now in {run}.", "Evaluate it again.")
    own, others = trained.get("model_weights") or {}, manifest.get("model_weights") or {}
    if not is_whole_model(trained) and any(own[file] != others[file] for file in own.keys() & others.keys()):
        raise UsageError(
            f"{path} evaluated {run} on another base than it was trained on.", "Evaluate it on the same base."
        )
    return run


def _training(folder: Path) -> Mapping[str, Any] | None:
    """The manifest of a training run; None where a folder is none, or not there."""
    try:
        manifest = read_manifest(folder)
    except RunError:
        return None
    return manifest if manifest["command"] == "train" else None


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
