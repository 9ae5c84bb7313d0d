"""Which values of a recipe's free blocks are paths, whatever their form: ``photos`` is one where a setting says that it
names a path (`mmpref.recipes.names`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmpref.errors import UsageError
from mmpref.recipes.names import is_path_field
from mmpref.registry import Registry

_BENCHMARKS: Registry[Any] = Registry("benchmark", "mmpref.benchmarks", "BENCHMARK")
_BUILDERS: Registry[Any] = Registry("dataset method", "mmpref.builders", "BUILDER")
_METHODS: Registry[Any] = Registry("training method", "mmpref.methods", "METHOD")
_NO_FORM = ("pkg:", "/", "~", ".", "file:")


def told_paths(document: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest or ``results.json`` in whose recipe, and in what its benchmarks were asked with, a relative path
    begins with ``./``, by which anybody knows it as one."""
    told = dict(document)
    if isinstance(recipe := told.get("recipe"), Mapping):
        told["recipe"] = _recipe(str(told.get("command")), recipe)
    for key in ("asked", "watched"):
        if isinstance(told.get(key), Mapping):
            told[key] = {name: _asked(one) for name, one in told[key].items()}
    return told


def _recipe(command: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    told = {**recipe, **_benchmarks(recipe)}
    if isinstance(watch := recipe.get("watch"), Mapping):
        told["watch"] = {**watch, **_benchmarks(watch)}
    if command == "build-dataset" and isinstance(recipe.get("builder"), Mapping):
        told["builder"] = _told(recipe["builder"], _BUILDERS, recipe.get("method"))
    if command == "train" and isinstance(recipe.get("loss"), Mapping):
        told["loss"] = _told(recipe["loss"], _METHODS, recipe.get("method"))
    return told


def _benchmarks(section: Mapping[str, Any]) -> dict[str, Any]:
    blocks = section.get("benchmark")
    if not isinstance(blocks, Mapping):
        return {}
    return {"benchmark": {name: _told(block, _BENCHMARKS, name) for name, block in blocks.items()}}


def _asked(one: Any) -> Any:
    if not isinstance(one, Mapping) or "changed" not in one:
        return one
    return {**one, "changed": _told(one["changed"], _BENCHMARKS, one.get("benchmark"))}


def _told(block: Any, registry: Registry[Any], name: Any) -> Any:
    """A block with its paths told; as it is where the plugin that it is of is not installed."""
    try:
        entry = registry.get(str(name))
    except (UsageError, ImportError):
        return block
    settings = entry.config() if registry is _BUILDERS else entry.settings
    return _of(settings, block) if isinstance(block, Mapping) else block


def _of(settings: Any, block: Mapping[str, Any]) -> dict[str, Any]:
    paths = {field.name for field in dataclasses.fields(settings) if is_path_field(field)}
    return {key: _begun(value) if key in paths else value for key, value in block.items()}


def _begun(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_begun(one) for one in value]
    has_form = not isinstance(value, str) or not value or value.startswith(_NO_FORM)
    return value if has_form else f"./{value}"
