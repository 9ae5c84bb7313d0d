"""The command line that makes a run again, from its recipe; paths of this machine are replaced by placeholders."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from mmpref.hub.cards.markdown import printable
from mmpref.hub.private import portable
from mmpref.hub_ids import dataset_of, is_commit
from mmpref.recipes import resolve

_COMMON = ("method", "model", "revision", "limit", "seed")
_OPTIONS = {
    "build-dataset": (*_COMMON, "source", "source_revision", "image_root", "split"),
    "train": (*_COMMON, "dataset", "image_root", "annotator"),
}
"""Recipe keys that are options of the command; the others are given by ``--set``."""


def _pinned_recipe(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with the revisions that the run resolved."""
    recipe = dict(manifest["recipe"])
    if is_commit((manifest.get("model") or {}).get("revision")):
        recipe["revision"] = manifest["model"]["revision"]
    adapter = manifest.get("adapter") or manifest.get("began") or {}
    if is_commit(adapter.get("revision")):
        recipe["adapter_revision"] = adapter["revision"]
    source = manifest.get("source") or {}
    if "sources" in source:
        recipe["source"] = [_pinned(entry["id"], entry) for entry in source["sources"]]
    elif is_commit(source.get("revision")):
        recipe |= {"source": source["id"], "source_revision": source["revision"]}
    for key, tables in (("dataset", "datasets"), ("exclude_images_of", "excluded")):
        names, entries = recipe.get(key) or (), manifest.get(tables) or ()
        if names and len(names) == len(entries):
            recipe[key] = list(map(_pinned, names, entries))
    loss, held_out = recipe.get("loss") or {}, manifest.get("held_out") or {}
    if names := loss.get("held_out"):
        recipe["loss"] = {**loss, "held_out": [_pinned(name, held_out.get(name) or {}) for name in names]}
    commits = {entry["id"]: entry["revision"] for key in ("embedders", "asked") for entry in manifest.get(key) or ()}
    named = ("annotator", "builder", "loss")
    return recipe | {key: _at(recipe[key], commits) for key in named if recipe.get(key)}


def _pinned(name: str, table: Mapping[str, Any]) -> str:
    """A table's name in the recipe, ``NAME`` or ``NAME:SPLIT``; of the Hub's with the commit that was read.

    Args:
        table: its facts.
    """
    repo, file = dataset_of(str(table.get("id")))
    if not is_commit(table.get("revision")) or "/" not in (repo or ""):  # hf:// has no names without an owner
        return name
    _, colon, split = name.rpartition(":")
    at_split = f":{split}" if colon and split.replace("-", "_").isidentifier() else ""
    return f"hf://datasets/{repo}@{table['revision']}{file and f'/{file}'}{at_split}"


def _at(settings: Any, commits: Mapping[str, str]) -> Any:
    """Settings with ``ID@COMMIT`` for each of their models that has a commit."""
    if isinstance(settings, Mapping):
        return {key: _at(value, commits) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_at(value, commits) for value in settings]
    if not isinstance(settings, str):
        return settings
    model = settings.partition("@")[0]
    return f"{model}@{commits[model]}" if model in commits else settings


def used_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without what says nothing: how to watch benchmarks, where none are watched."""
    benchmarks = (recipe.get("watch") or {}).get("benchmarks")
    return {key: value for key, value in recipe.items() if key != "watch" or benchmarks}


def command_of(manifest: Mapping[str, Any]) -> str:
    """The shell command, a setting a line, quoted. It takes no recipe's defaults and names every setting that the run's
    recipe had, so that it resolves to that recipe again."""
    command = manifest["command"]
    recipe = portable(used_settings(_pinned_recipe(manifest)))
    parts = ["--recipe plain"]
    for key in (key for key in _OPTIONS[command] if key in recipe):
        value = recipe[key]
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                parts.append(f"--{key.replace('_', '-')} {_quoted(str(item))}")
    for key, value in _flat({key: value for key, value in recipe.items() if key not in _OPTIONS[command]}).items():
        if value is not None:
            parts.append(f"--set {_quoted(f'{key}={_yaml(value)}')}")
    return " \\\n  ".join([f"mmpref {command}", *parts])


def _quoted(word: str) -> str:
    """A word of the command for a shell. One with a comment of Markdown in it, which could end a part of the card, or
    with characters that are not seen, is written by bash's escapes."""
    if "<!--" not in word and "-->" not in word and printable(word) == word:
        return shlex.quote(word)
    escaped = (
        character if character.isalnum() or character in " .,:;=_/+-" else _escape(character)
        for character in word.replace("\0", "")
    )
    return f"$'{''.join(escaped)}'"


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 128 else f"\\U{number:08x}"


def _yaml(value: Any) -> str:
    """`value` as ``--set`` reads it back."""
    if isinstance(value, str) and value and resolve.parse_set([f"k={value}"])["k"] == value:
        return value
    return json.dumps(value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
