"""What a recipe is told by: its plain values, with what stands at paths in place of these. A model that was trained
anew, or a table that was written anew, is another one; where it lies decides nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from os.path import expanduser
from pathlib import Path
from typing import Any

from mmpref.errors import UsageError
from mmpref.judges.named_files import local_digest
from mmpref.local_paths import is_data_file, names_file
from mmpref.origins.model_files import file_digest
from mmpref.recipes.names import Kind
from mmpref.registry import resolve_path
from mmpref.tables.open import with_split

_ROWS = ("source", "dataset", "data", "annotations")
"""Settings that may name a folder of the user's with rows in it."""
_PICTURES = ("images", "image_root")
"""Settings that may name an archive of images, which are as large as data get and seldom change."""
_MODELS = ("model", "adapter", "embedder", "annotator")
"""What a folder of a model may be named as."""


def named_by(recipe: Any) -> dict[str, Kind]:
    """What a resolved recipe and its blocks name, and as what.

    Raises:
        UsageError: a block holds what it cannot.
    """
    from mmpref.api.checks import all_named

    return {value: one.kind for one in all_named(recipe) for value in one.values}


def identified(value: Any, symbols: Mapping[str, str], named: Mapping[str, Kind] | None = None, key: str = "") -> Any:
    """Plain values with what stands at paths in place of these.

    Args:
        symbols: what stands for folders that are made, or will be.
        named: as `named_by` gives it.
        key: whose value it is.
    """
    if isinstance(value, dict):
        return {name: identified(one, symbols, named, name) for name, one in value.items()}
    if isinstance(value, list):
        return [identified(one, symbols, named, key) for one in value]
    if not isinstance(value, str):
        return value
    return symbols[value] if value in symbols else _identity(value, key, (named or {}).get(expanduser(value)))


def _identity(value: str, key: str, kind: Kind | None) -> str:
    if key == "model" or value.startswith("pkg:") or (key not in _PICTURES and names_file(value)):
        return content_identity(value)
    if key in _PICTURES:
        return value
    if kind in _MODELS:
        return model_identity(value)
    if key in _ROWS or kind == "table":
        spec, split = (value, "") if Path(expanduser(value)).is_dir() else with_split(value, "")
        rows = content_identity(spec, rows=True) if Path(expanduser(spec)).exists() else spec
        return f"{rows}:{split}" if split else rows
    return content_identity(value) if kind == "path" else value


@cache
def content_identity(reference: str, rows: bool = False) -> str:
    """A name, and for a folder or file a hash of its content.

    Args:
        rows: of a folder of rows: of images and the like among them only names and sizes.
    """
    try:
        root = Path(resolve_path(reference))
    except UsageError:
        return reference
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    kept = (path for path in files if "__pycache__" not in path.parts)
    facts = [
        (path.name, path.stat().st_size, None if rows and not is_data_file(path.name) else file_digest(path))
        for path in kept
    ]
    return f"{reference if reference.startswith('pkg:') else root.name}@{digest(facts)}" if facts else reference


@cache
def model_identity(reference: str) -> str:
    """The same of a model, an adapter or an embedder, by the files that decide what it says; of what is nothing of
    this machine the name."""
    found = local_digest(reference)
    return f"{Path(reference).name}@{found}" if found else reference


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-ready value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
