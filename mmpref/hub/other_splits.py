"""What else a dataset repository holds: a push is refused where that would no longer load, or be replaced unasked.

All splits of a configuration are read with one set of features, and a card's configurations hide every file that they
do not name. So before a commit we compare what the repository's card loads now with what the merged card would load,
file by file, and read the features of what stays in our configuration out of its files. ``datasets`` reads a repository
in the format of its first configuration: what is not Parquet cannot stand beside our files.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.errors import HubError
from mmpref.hub._local_files import CARD
from mmpref.licence import metadata_of

if TYPE_CHECKING:
    import pyarrow as pa

_DATA = re.compile(
    r".*\.(parquet|arrow|jsonl?|ndjson|csv|tsv|txt|xml|h5|hdf5|tar|zip|gz|zst"
    r"|png|jpe?g|webp|gif|tiff?|bmp|wav|mp3|flac|mp4|pdf)"
)
_NOT_DATA = re.compile(
    r"(run|report|results|dataset_infos)\.json|statistics\.png|(licen[cs]e|readme|requirements)\.txt"
)
_PICTURE = re.compile(r"pictures/pair-\d+(-\d+)?\.jpg")
"""What a card of ours shows."""
_HINT = "Nothing was changed there. Publish to another repository, or take it out of this one first."
_SHOWN_CHARACTERS = 200

Splits = dict[tuple[str, str], frozenset[str]]
"""The files of each split, by configuration and split; a split of "" where its files are told apart by their names."""


@dataclass(frozen=True)
class Change:
    """A commit that is about to be made.

    Args:
        name: of the repository.
        before, after: paths of all its files.
        touched: those of ``before`` that are deleted or replaced.
        old_card, own_card, new_card: on the Hub, of what is published, and as they are merged.
        features: reads the schema of a Parquet file of the repository as it is.
        own_features: of the data that are published, or None where they have none of one kind.
    """

    name: str
    before: Collection[str]
    after: Collection[str]
    touched: Collection[str]
    old_card: str | None
    own_card: str
    new_card: str
    features: Callable[[str], pa.Schema]
    own_features: pa.Schema | None = None


def refuse_breaking(change: Change) -> None:
    """Refuse a commit after which something that was there loads otherwise, or not at all.

    Raises:
        HubError: that is so; nothing is written.
    """
    data = {path for path in change.before if _is_data(path)}
    old, own, new = (_metadata(card) for card in (change.old_card, change.own_card, change.new_card))
    touched = set(change.touched)
    ours = bool(change.old_card and "mmpref" in change.old_card)
    if not ours and (replaced := sorted(data & touched)):
        raise HubError(
            f"{change.name} holds a dataset that mmpref did not publish, and {replaced[0]} would be replaced.", _HINT
        )
    untouched = sorted(data - touched)
    if untouched and not old.get("configs"):
        raise HubError(
            f"{change.name} holds data that its card does not name, such as {untouched[0]}: ours would hide them.",
            _HINT,
        )
    splits_before, splits_after = _splits(old, change.before), _splits(new, change.after)
    own_splits = _splits(own, change.after)
    for (config, split), files in splits_before.items():
        if not files or (ours and files <= touched) or (ours and (config, split) in own_splits):
            continue
        what = f"the split {split} of the configuration {config}" if split else f"the configuration {config}"
        if splits_after.get((config, split)) != files:
            raise HubError(f"In {change.name} {what} would no longer load what it does.", _HINT)
        if foreign := next((file for file in sorted(files) if not file.endswith(".parquet")), None):
            raise HubError(
                f"In {change.name} {what} is read from {foreign}, ours from Parquet; load_dataset reads a "
                "repository in one format.",
                _HINT,
            )
        if any(config == other for other, _ in own_splits):
            _refuse_other_features(change, what, sorted(files))
    _refuse_other_default(change, old, new)


def _refuse_other_features(change: Change, what: str, files: list[str]) -> None:
    """All splits of a configuration must have the same features."""
    from datasets import Features

    own = Features.from_arrow_schema(change.own_features) if change.own_features is not None else None
    for file in files:
        theirs = Features.from_arrow_schema(change.features(file))
        if theirs != own:
            names = ", ".join(theirs)[:_SHOWN_CHARACTERS]
            raise HubError(
                f"In {change.name} {what} has other columns, or of other types, than this dataset: {names}. "
                "One configuration cannot have both.",
                _HINT,
            )


def _refuse_other_default(change: Change, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """What `load_dataset` loads where no configuration is named stays the same."""
    before, after = _default(old), _default(new)
    if before is not None and after != before:
        raise HubError(
            f"In {change.name} the configuration {before} is what loads where none is named; that would be "
            f"{after or 'none of them'}.",
            _HINT,
        )


def _default(metadata: Mapping[str, Any]) -> str | None:
    configs = _configs(metadata)
    marked = [
        config["config_name"] for config in configs if config.get("default") or config["config_name"] == "default"
    ]
    names = marked or [config["config_name"] for config in configs]
    return names[0] if len(names) == 1 else None


def _metadata(card: str | None) -> dict[str, Any]:
    return (metadata_of(card) or {}) if card else {}


def _configs(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    configs = metadata.get("configs")
    entries = configs if isinstance(configs, list) else []
    return [
        config | {"config_name": str(config.get("config_name", "default"))}
        for config in entries
        if isinstance(config, dict)
    ]


def _splits(metadata: Mapping[str, Any], paths: Collection[str]) -> Splits:
    """What a card's configurations read of a repository's files."""
    splits: Splits = {}
    for config in _configs(metadata):
        folder = str(config.get("data_dir") or "").strip("/")
        for split, pattern in _patterns(config):
            in_folder = f"{folder}/{pattern}" if folder else pattern
            files = {path for path in paths if _matches(path, in_folder)}
            key = (config["config_name"], split)
            splits[key] = splits.get(key, frozenset()) | files
    return splits


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Split and pattern of files, in all the forms that a card may have."""
    files = config.get("data_files")
    if files is None:
        yield "", "**"
    else:
        for entry in files if isinstance(files, list) else [files]:
            if isinstance(entry, dict):
                paths = entry.get("path")
                for path in paths if isinstance(paths, list) else [paths]:
                    yield str(entry.get("split", "train")), str(path)
            else:
                yield "train", str(entry)


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern names a data file; a ``**/`` may stand for no folder at all."""
    pattern = pattern.removeprefix("./")
    forms = {pattern, pattern.replace("**/", ""), f"{pattern.rstrip('/')}/*"}
    return _is_data(path) and any(fnmatch.fnmatchcase(path, form) for form in forms)


def _is_data(path: str) -> bool:
    parts = path.lower().split("/")
    hidden = any(part.startswith((".", "_")) for part in parts)
    shown = path == CARD or _PICTURE.fullmatch(path) or _NOT_DATA.fullmatch(parts[-1])
    return not hidden and not shown and bool(_DATA.fullmatch(parts[-1]))
