"""What of a run may leave this machine: none of its folders, and no token.

Which strings are paths is decided by what the run knows of its model, source and data, by their form, and in a recipe
also by what lies on the disk. A path becomes ``/path/to/<name>``. A text with a path somewhere inside is left out
whole: where a path with spaces ends, nobody can tell.
"""

from __future__ import annotations

import fnmatch
import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import HubError
from mmpref.hub.recipe_paths import NAMING, told_paths
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.registry import resolve_path
from mmpref.run.results import RESULTS
from mmpref.text_files import lines_of

_NO_PATHS = ("pkg:", "memory:", "http://", "https://")
"""How names begin that are neither paths nor of the Hub: of packages, of what is in memory, of endpoints."""
_ENDPOINT = re.compile(r"https?://[^#\s]*#(.+)")
"""``URL#MODEL``: a model behind a server, whose name there may be the folder that it was loaded from."""
_JUDGED = re.compile(r"[\w-]+@(.+)/[0-9a-f]{8}/t[\w.+-]+/[\w-]+")
"""The name of a judged metric, which holds its judge's (`mmpref.run.results.JUDGED_BY`)."""
_TRACKED = re.compile(r"https?://[^#\s]*/#/experiments/\w+/runs/\w+")
"""The page of a run at an MLflow server."""
LEFT_OUT = "(left out: it names a folder of the machine)"
_PATH_START = re.compile(r"file:|[/~]|\.\.?(?:[/\\]|$)|[A-Za-z]:[\\/]|\\\\")
_PATH_INSIDE = re.compile(r"file:/|(?<![\w.:/@<-])(?:~|/)[^\s/]*/\S|(?<!\w)[A-Za-z]:\\\w|(?<![\w.])\.\.?/\w")
_FILE = re.compile(r"/.*\.(?:jsonl?|ndjson|parquet|arrow|csv|tsv|txt|ya?ml|safetensors|bin|gguf|pt|ckpt|png|jpe?g)$")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")
_TEXT_FILES = ("*.json", "*.jsonl", "*.md", "*.txt", "*.yaml", "*.yml", "*.jinja")
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")


def portable(value: Any) -> Any:
    """`value` with every string in it that has the form of a local path replaced by ``/path/to/<name>``."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if not isinstance(value, str):
        return value
    if folder := _served_folder(value):
        return value.removesuffix(folder) + placeholder(folder)
    return placeholder(value) if _has_form_of_path(value) else value


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
    for name, is_local in (origin for source in (document, *others) for origin in _origins(source)):
        (local if is_local else from_hub).add(name)
    cleaned = _cleaned(told_paths(document, from_hub), from_hub, local - from_hub)
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
                if folder := _served_folder(value[name]):
                    yield folder, True
                yield value[name], _is_local(value[name], value, revision)
        if key == "held_out":
            for name, facts in value.items():
                if "id" in facts:
                    yield name, _is_local(facts["id"], facts)
                else:  # runs of before; the split stands behind the name
                    yield name, _has_form_of_path(name) or not is_hub_id(name.rpartition(":")[0] or name)
        for name, item in value.items():
            yield from _origins(item, name)
    elif key == "image_root" and isinstance(value, str):
        yield value, True


def _is_local(name: str, facts: Mapping[str, Any], revision: str = "revision") -> bool:
    """Whether what has these facts is of this machine: it has no commit, and no package has registered it."""
    # The fingerprint of a table that a package registered begins with its name.
    registered = str(facts.get("fingerprint")).startswith(f"{name}/")
    return not (is_commit(facts.get(revision)) or registered or name.startswith(_NO_PATHS))


def _cleaned(value: Any, from_hub: set[str], local: set[str], within: tuple[str, ...] = ()) -> Any:
    """`within` has the keys that lead to the value."""
    in_recipe = "recipe" in within
    if isinstance(value, Mapping):
        cleaned: dict[str, Any] = {}
        for key, item in value.items():
            if in_recipe or key != "detail":
                name = _cleaned_key(key, from_hub, _meant(local, within[-1:] == ("held_out",)), cleaned)
                cleaned[name] = _cleaned(item, from_hub, local, (*within, key))
        return cleaned
    if isinstance(value, (list, tuple)):
        return [_cleaned(item, from_hub, local, within) for item in value]
    if not isinstance(value, str) or _TRACKED.fullmatch(value):
        return value
    if folder := _served_folder(value):
        return value.removesuffix(folder) + placeholder(folder)
    if value in from_hub:
        return value
    is_local = value in _meant(local, _is_place_of_names(within))
    if is_local or _has_form_of_path(value) or (in_recipe and _is_on_disk(value)):
        return placeholder(value)
    return LEFT_OUT if _PATH_INSIDE.search(value) else value


def _is_place_of_names(within: tuple[str, ...]) -> bool:
    """Whether what these keys lead to names a model, an adapter, a table or a folder of images."""
    key = within[-1] if within else ""
    if key in ("id", "image_root") or ("recipe" in within and key in (*NAMING, "held_out")):
        return True
    return within[-2:-1] == ("ref",) and key in ("model", "adapter")


def _meant(local: set[str], is_place_of_names: bool) -> set[str]:
    """Those names that are meant where they stand: a bare one (``model``, ``train``) may be any word outside of the
    places of names."""
    return local if is_place_of_names else {name for name in local if "/" in name or "\\" in name}


def _cleaned_key(key: str, from_hub: set[str], local: set[str], taken: Collection[str]) -> str:
    """A key, such as the name of a held-out set; of two folders of one name the second has a number."""
    if key in from_hub or not (key in local or _has_form_of_path(key)):
        return key
    name, number = placeholder(key), 2
    while name in taken:
        name, number = f"{placeholder(key)} ({number})", number + 1
    return name


def _served_folder(name: str) -> str | None:
    """The folder (with spaces, it may be) that a server calls its model by; None where it does not."""
    endpoint = _ENDPOINT.fullmatch(name)
    model = endpoint[1] if endpoint else ""
    return model if _PATH_START.match(model) or model.count("/") > 1 else None


def _has_form_of_path(value: str) -> bool:
    """Absolute, beginning with ``.`` or ``~``, a ``file:`` URL, or of more parts than the id of anything has; of a
    judged metric, its judge."""
    if judged := _JUDGED.fullmatch(value):
        value = judged[1]
    several = value.count("/") > 1 and "://" not in value and not re.search(r"\s|pkg:", value)
    return bool(_PATH_START.match(value)) or several


def _is_on_disk(value: str) -> bool:
    """Whether a recipe's value is a relative path: to a file by its name, or to what is there."""
    if "/" not in value or "://" in value or value.startswith("pkg:"):
        return False
    try:
        return bool(_FILE.search(value)) or Path(value).exists()
    except (OSError, ValueError):
        return False


def clean_json(value: Any, folders: re.Pattern[str], local: frozenset[str] = frozenset()) -> Any:
    """Any JSON value without the folders that `folders` finds: for files that others write, where a slash may be
    anything.

    Args:
        local: names of models that are local here; keys such as ``name_or_path`` do not name them either.
    """
    if isinstance(value, Mapping):
        return {
            key: placeholder(item)
            if "name_or_path" in key and isinstance(item, str) and (item in local or _has_form_of_path(item))
            else clean_json(item, folders, local)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [clean_json(item, folders, local) for item in value]
    if not isinstance(value, str) or not (match := folders.search(value)):
        return value
    whole = match.start() == 0 and not re.search(r"[\n\"'<>]", value)
    return placeholder(value) if whole else LEFT_OUT


def local_folders(path: Path, base: str | None = None) -> re.Pattern[str]:
    """Finds the folders of this machine that must not be named in what is published."""
    folders = {
        str(Path.home()),
        str(Path.cwd()),
        str(path.resolve()),
        str(path.resolve().parent),
        tempfile.gettempdir(),
    }
    if base and (base.startswith("pkg:") or Path(base).is_absolute()):
        folders.add(str(Path(resolve_path(base)).resolve()))
    longest_first = sorted((folder for folder in folders if len(folder) > 1), key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(map(re.escape, longest_first))})(?![\w.-])")


def clean_json_file(file: Path, folders: re.Pattern[str], manifest: Mapping[str, Any], base: str | None) -> str | None:
    """The content of a JSON file that names folders of this machine, without them; None where it names none.

    Args:
        manifest: of the run.
        base: of the adapter, where it is local.
    """
    if file.suffix not in (".json", ".jsonl") or file.name in _VOCABULARY:
        return None
    text = file.read_text(encoding="utf-8", errors="replace")
    local = frozenset([base, resolve_path(base)] if base else [])
    try:
        documents = [json.loads(line) for line in (lines_of(text) if file.suffix == ".jsonl" else [text])]
    except ValueError:
        return None if not folders.search(text) else clean_text(text, folders)
    clean = [
        public(value, manifest)
        if file.name == RESULTS and isinstance(value, dict)
        else clean_json(value, folders, local)
        for value in documents
    ]
    if clean == documents:
        return None
    indent = None if file.suffix == ".jsonl" else 2
    return "".join(json.dumps(value, indent=indent, ensure_ascii=False) + "\n" for value in clean)


def clean_text(text: str, folders: re.Pattern[str]) -> str:
    """`text` with every path below one of this machine's folders replaced by ``/path/to/<name>``.

    A space ends a path, unless a slash follows in the next word.
    """
    below = re.compile(rf"{folders.pattern}(?:/[^\s\"'`\\<>,;()]*|(?<=[^\s/]) [^\s/\"'`\\<>,;()]+(?=/))*")
    return below.sub(lambda match: f"/path/to/{match[0].rstrip('/').split('/')[-1]}", text)


def refuse_secrets(stage: Path) -> None:
    """Refuse a folder with a token of the Hub in one of its texts.

    Raises:
        HubError: it has one.
    """
    for file in sorted(stage.rglob("*")):
        is_text = file.name not in _VOCABULARY and any(fnmatch.fnmatch(file.name, p) for p in _TEXT_FILES)
        if is_text and file.is_file() and _TOKEN.search(file.read_text(encoding="utf-8", errors="replace")):
            raise HubError(
                f"{file.relative_to(stage)} holds what looks like a Hugging Face token; nothing was uploaded.",
                "Remove it from the run, and revoke the token if it is real.",
            )
