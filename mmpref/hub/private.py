"""What of a run may leave this machine: none of its folders.

Which strings are paths is decided by what the run knows of its model, source and data, by their form, and in a recipe
also by what lies on the disk. A path becomes ``/path/to/<name>``. A text with a path somewhere inside is left out
whole: where a path with spaces ends, nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LEFT_OUT = "(left out: it names a folder of the machine)"
_PATH = re.compile(r"file:|[/~]|\.\.?(?:[/\\]|$)|[A-Za-z]:[\\/]|\\\\")
_INSIDE = re.compile(r"file:/|(?<![\w.:/@<-])(?:~|/)[^\s/]*/\S|(?<!\w)[A-Za-z]:\\\w|(?<![\w.])\.\.?/\w")
_FILE = re.compile(r"/.*\.(?:jsonl?|ndjson|parquet|arrow|csv|tsv|txt|ya?ml|safetensors|bin|gguf|pt|ckpt|png|jpe?g)$")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: object) -> bool:
    """Whether a revision is a commit of the Hub, which only things that come from the Hub have."""
    return isinstance(revision, str) and bool(_COMMIT.fullmatch(revision))


def portable(value: Any) -> Any:
    """`value` with every string in it that has the form of a local path replaced by ``/path/to/<name>``."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    return placeholder(value) if isinstance(value, str) and _has_form_of_path(value) else value


def placeholder(path: str) -> str:
    """``/path/to/<name>``."""
    return "/path/to/" + re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def public(document: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest or ``results.json`` without folders of this machine, and without the details of skipped rows.

    Args:
        others: documents that know more about the same run, such as its manifest.
    """
    from_hub: set[str] = set()
    local: set[str] = set()
    for name, is_local in (found for one in (document, *others) for found in _origins(one)):
        (local if is_local else from_hub).add(name)
    cleaned = _cleaned(document, from_hub, local - from_hub, False)
    assert isinstance(cleaned, dict)
    return cleaned


def _origins(value: Any, key: str = "") -> Iterator[tuple[str, bool]]:
    """(name, whether it is local) of all models, adapters, tables and image folders that a document describes."""
    if isinstance(value, list):
        for item in value:
            yield from _origins(item, key)
    elif isinstance(value, Mapping):
        names = [("id", "revision")] if "id" in value else []
        names += [("model", "revision"), ("adapter", "adapter_revision")] if key == "ref" else []
        for name, revision in names:
            if isinstance(value.get(name), str) and revision in value:
                # The fingerprint of a table that a package registered begins with its name.
                registered = str(value.get("fingerprint")).startswith(f"{value[name]}/")
                yield (
                    value[name],
                    not (is_commit(value[revision]) or registered or value[name].startswith(("pkg:", "memory:"))),
                )
        for name, item in value.items():
            yield from _origins(item, name)
    elif key == "image_root" and isinstance(value, str):
        yield value, True


def _cleaned(value: Any, from_hub: set[str], local: set[str], in_recipe: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _cleaned(item, from_hub, local, in_recipe or key == "recipe")
            for key, item in value.items()
            if in_recipe or key != "detail"
        }
    if isinstance(value, (list, tuple)):
        return [_cleaned(item, from_hub, local, in_recipe) for item in value]
    if not isinstance(value, str) or value in from_hub:
        return value
    if value in local or _has_form_of_path(value) or (in_recipe and _is_on_disk(value)):
        return placeholder(value)
    return LEFT_OUT if _INSIDE.search(value) else value


def _has_form_of_path(value: str) -> bool:
    """Absolute, beginning with ``.`` or ``~``, a ``file:`` URL, or of more parts than the id of anything has."""
    several = value.count("/") > 1 and "://" not in value and not re.search(r"\s|pkg:", value)
    return bool(_PATH.match(value)) or several


def _is_on_disk(value: str) -> bool:
    """Whether a recipe's value is a relative path: to a file by its name, or to what is there."""
    if "/" not in value or "://" in value or value.startswith("pkg:"):
        return False
    try:
        return bool(_FILE.search(value)) or Path(value).exists()
    except (OSError, ValueError):
        return False


def without_places(value: Any, places: re.Pattern[str], local: frozenset[str] = frozenset()) -> Any:
    """Any JSON value without the folders that `places` finds: for files that others write, where a slash may be
    anything.

    Args:
        local: names of models that are local here; keys such as ``name_or_path`` do not name them either.
    """
    if isinstance(value, Mapping):
        return {
            key: placeholder(item)
            if "name_or_path" in key and isinstance(item, str) and (item in local or _has_form_of_path(item))
            else without_places(item, places, local)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_places(item, places, local) for item in value]
    if not isinstance(value, str) or not (found := places.search(value)):
        return value
    whole = found.start() == 0 and not re.search(r"[\n\"'<>]", value)
    return placeholder(value) if whole else LEFT_OUT
