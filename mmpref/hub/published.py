"""Where something was published: what a push gives back, and what the run remembers of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmpref.run.manifest import STATE

RECORD = "published.json"
"""State: where the run was published, an entry for each repository and pull request: address, commit, tag, and of pairs
the `Table.fingerprint` of each split, and the licence that their card states; and what its owner said of it."""
SAID = ("base_hub_id", "license")
"""What an owner says once, of all that the run is published to later."""


@dataclass(frozen=True)
class Published:
    """What is on the Hub.

    Args:
        url: of the repository.
        commit: on ``main``, or on the pull request's branch where ``pull_request_url`` is set.
        tag: None where none was set.
        changed: False where the same was there before.
        visibility: who sees the repository.
        space: address of the demo that shows it.
        collection: address of the collection that it was put into.
        new_version_of: address of the earlier model, whose card points to this one now.
    """

    url: str
    commit: str
    tag: str | None
    pull_request_url: str | None
    changed: bool
    repo_id: str
    repo_type: Literal["dataset", "model", "space"]
    visibility: Literal["public", "private"] | None = None
    space: str | None = None
    collection: str | None = None
    new_version_of: str | None = None


def entries_of(path: Path) -> list[dict[str, Any]]:
    """What the record of a run holds.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    file = path / STATE / RECORD
    entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def said_before(path: Path) -> dict[str, str]:
    """What the owner of a run said of it when it was published last, by the names in `SAID`."""
    said: dict[str, str] = {}
    for entry in _latest_first(path):
        said = {name: str(entry[name]) for name in SAID if entry.get(name)} | said
    return said


def dataset_address(path: Path) -> str | None:
    """Address of the dataset repository that a run went to last; None where it did not, or only as a pull request."""
    urls = (str(entry["url"]) for entry in _latest_first(path))
    return next((url for url in urls if "/datasets/" in url), None)


def published_dataset(path: Path, endpoint: str, fingerprint: str) -> dict[str, str] | None:
    """Where a run went to this Hub last with these pairs: the repository as ``id``, the commit as ``revision``, and the
    ``licence`` that was stated there, if one was. None where it did not.

    Args:
        fingerprint: theirs; the folder may have been published with other pairs.
    """
    prefix = f"{endpoint}/datasets/"
    for entry in _latest_first(path):
        if str(entry["url"]).startswith(prefix) and fingerprint in entry.get("fingerprints", ()):
            stated = {"licence": str(entry["licence"])} if entry.get("licence") else {}
            return {"id": str(entry["url"]).removeprefix(prefix), "revision": str(entry["commit"]), **stated}
    return None


def _latest_first(path: Path) -> list[dict[str, Any]]:
    try:
        entries = entries_of(path)
    except (OSError, ValueError):
        return []
    return [entry for entry in reversed(entries) if entry.get("url") and not entry.get("pull_request_url")]
