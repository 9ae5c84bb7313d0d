"""Which values of a recipe are paths, whatever their form: ``photos`` is one where a setting says that it names a path
(`mmpref.recipes.names`), and where it names a model, a table or an annotator, which may be of the Hub too, if there is
such a file or folder."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import UsageError
from mmpref.local_paths import is_data_file
from mmpref.recipes.names import is_path_field, may_be_path
from mmpref.registry import Registry

_BENCHMARKS: Registry[Any] = Registry("benchmark", "mmpref.benchmarks", "BENCHMARK")
_BUILDERS: Registry[Any] = Registry("dataset method", "mmpref.builders", "BUILDER")
_METHODS: Registry[Any] = Registry("training method", "mmpref.methods", "METHOD")
_TABLES: Registry[Any] = Registry("table", "mmpref.tables", "rows")
_JUDGES: Registry[Any] = Registry("annotator", "mmpref.judges", "JUDGE")
NAMING = ("model", "adapter", "source", "dataset", "exclude_images_of", "annotator", "judge")
"""Keys of recipes themselves whose values may be paths."""
_NO_FORM = ("pkg:", "/", "~", ".", "file:")


Test = Callable[[str], bool]
"""Whether a name that may be one of the Hub is a path."""


def told_paths(document: Mapping[str, Any], from_hub: Collection[str] = ()) -> dict[str, Any]:
    """A manifest or ``results.json`` in whose recipe, and in what its benchmarks were asked with, a relative path
    begins with ``./``, by which anybody knows it as one.

    Args:
        from_hub: names that are known to be of the Hub, whatever lies here.
    """

    def is_there(name: str) -> bool:
        return name not in from_hub and _is_there(name)

    told = dict(document)
    if isinstance(recipe := told.get("recipe"), Mapping):
        told["recipe"] = _recipe(str(told.get("command")), recipe, is_there)
    for key in ("asked", "watched"):
        if isinstance(told.get(key), Mapping):
            told[key] = {name: _asked(one, is_there) for name, one in told[key].items()}
    return told


def _recipe(command: str, recipe: Mapping[str, Any], is_there: Test) -> dict[str, Any]:
    told = {**recipe, **_benchmarks(recipe, is_there)}
    told |= {key: _begun(told[key], is_there) for key in NAMING if key in told}
    if isinstance(watch := recipe.get("watch"), Mapping):
        told["watch"] = {**watch, **_benchmarks(watch, is_there)}
    if command == "build-dataset" and isinstance(recipe.get("builder"), Mapping):
        told["builder"] = _told(recipe["builder"], _BUILDERS, recipe.get("method"), is_there)
    if command == "train" and isinstance(recipe.get("loss"), Mapping):
        told["loss"] = _told(recipe["loss"], _METHODS, recipe.get("method"), is_there)
    return told


def _benchmarks(section: Mapping[str, Any], is_there: Test) -> dict[str, Any]:
    blocks = section.get("benchmark")
    if not isinstance(blocks, Mapping):
        return {}
    return {"benchmark": {name: _told(block, _BENCHMARKS, name, is_there) for name, block in blocks.items()}}


def _asked(one: Any, is_there: Test) -> Any:
    if not isinstance(one, Mapping) or "changed" not in one:
        return one
    return {**one, "changed": _told(one["changed"], _BENCHMARKS, one.get("benchmark"), is_there)}


def _told(block: Any, registry: Registry[Any], name: Any, is_there: Test) -> Any:
    """A block with its paths told; as it is where the plugin that it is of is not installed."""
    try:
        entry = registry.get(str(name))
    except (UsageError, ImportError):
        return block
    settings = entry.config() if registry is _BUILDERS else entry.settings
    return _of(settings, block, is_there) if isinstance(block, Mapping) else block


def _of(settings: Any, block: Mapping[str, Any], is_there: Test) -> dict[str, Any]:
    told, types = dict(block), typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if field.name not in block:
            continue
        value = block[field.name]
        if dataclasses.is_dataclass(types[field.name]) and isinstance(value, Mapping):
            told[field.name] = _of(types[field.name], value, is_there)
        elif is_path_field(field):
            told[field.name] = _begun(value)
        elif may_be_path(field, value):
            told[field.name] = _begun(value, is_there)
    return told


def _begun(value: Any, is_path: Test = lambda _: True) -> Any:
    if isinstance(value, list | tuple):
        return [_begun(one, is_path) for one in value]
    has_form = not isinstance(value, str) or not value or value.startswith(_NO_FORM)
    return value if has_form or not is_path(value) else f"./{value}"


def _is_there(name: str) -> bool:
    """Whether a name that is none of mmpref's own is that of a data file, or of what lies here."""
    if name in (*_TABLES.names(), *_JUDGES.names(), "policy") or "://" in name:
        return False
    try:
        return is_data_file(name) or Path(name).exists()
    except (OSError, ValueError):
        return False
