"""``run.json``: what a finished run says of itself."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from mmpref.errors import RunError
from mmpref.local_paths import path_hint
from mmpref.text_files import NOT_JSON

MANIFEST = "run.json"


STATE = ".mmpref"


WEIGHTS = (".safetensors", ".bin")
"""How files with weights end, by which a training on a folder, or its evaluation, knows the model: ``model_weights`` in
its manifest."""


_PACKAGES = (
    "mmpref",
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "huggingface-hub",
    "evaluate",
    "accelerate",
    "sentence-transformers",
    "bitsandbytes",
)


_SHOWN = 8
"""Runs of a folder that a message names."""


def read_manifest(path: Path) -> dict[str, Any]:
    """The ``run.json`` of a finished run.

    Raises:
        RunError: the directory is no finished run, or its manifest is damaged.
    """
    file = path / MANIFEST
    if not file.is_file():
        known = (path / STATE).is_dir()
        what = "is an unfinished run" if known else "is not a run directory"
        hint = "Run the command that made it again." if known else _runs_in(path) or path_hint(str(path), "")
        raise RunError(f"{path} {what} (no {MANIFEST}).", hint)
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except NOT_JSON as error:
        raise RunError(f"{file} is not JSON: {error}.", "Delete it and run the command again.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("recipe"), dict) or "command" not in manifest:
        raise RunError(f"{file} is not a run manifest (it needs at least 'command' and 'recipe').")
    return manifest


def _runs_in(path: Path) -> str:
    """The finished runs that lie in a folder, such as that of a reproduction; "" where there are none."""
    with contextlib.suppress(OSError):
        runs = sorted({file.parent for depth in ("*", "*/*") for file in path.glob(f"{depth}/{MANIFEST}")})
        shown = ", ".join(str(run) for run in runs[:_SHOWN])
        return f"Runs in it: {shown}{', ...' if len(runs) > _SHOWN else '.'}" if runs else ""
    return ""


def is_whole_model(manifest: Mapping[str, Any]) -> bool:
    """Whether a training run left a model that was trained in full, and no adapter."""
    return bool(manifest["command"] == "train" and manifest["recipe"].get("tuning") == "full")


def product_of(manifest: Mapping[str, Any]) -> Literal["model", "adapter"]:
    """What a training run left, for readers."""
    return "model" if is_whole_model(manifest) else "adapter"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a run's bytes."""
    return {"python": platform.python_version(), **versions_of(_PACKAGES)}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    installed = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            installed[package] = _version(package)
    return installed


_version = cache(version)
"""A package's version is read once: its metadata are parsed for it, all of them."""
