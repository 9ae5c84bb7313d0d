"""The data that an adapter was trained on, or pairs were made of, by the names that they were published under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.hub.published import published_dataset
from mmpref.hub_ids import dataset_of, is_commit
from mmpref.licence import join_sources
from mmpref.origins.earlier_data import EARLIER


def trained_on(manifest: Mapping[str, Any]) -> list[str]:
    """The Hub's datasets that a training read, or that the adapter was trained on from which it went on; each once."""
    return hub_datasets([*manifest.get("datasets", ()), *(manifest.get(EARLIER) or ())])


def hub_datasets(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The Hub's datasets among tables, by what a manifest says of each; of a file on the Hub the dataset that it is of.
    Each once."""
    tables = [entry for entry in entries if is_commit(entry.get("revision")) and not entry.get("adapter")]
    named = [dataset_of(str(entry["id"]))[0] for entry in tables]
    return list(dict.fromkeys(name for name in named if name))


def read_by(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The facts of each table that a training or build read."""
    source = manifest.get("source")
    entries: Sequence[Mapping[str, Any]] = (
        manifest.get("datasets", ()) if source is None else source.get("sources", [source])
    )
    return entries


def as_published(manifest: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    """The manifest of a training or build, where a folder of pairs that was published is its repository at that commit,
    under the licence that was stated there: of the same pairs, whatever became of the folder before or after they were
    read.

    Args:
        endpoint: of the Hub.
    """
    if earlier := manifest.get(EARLIER):
        names_now = _known(earlier, endpoint)
        manifest = {**manifest, EARLIER: [{**entry, **names_now.get(entry["id"], {})} for entry in earlier]}
    source, read = manifest.get("source"), read_by(manifest)
    if not (known := _known(read, endpoint)):
        return dict(manifest)
    entries = [{**entry, **known.get(entry["id"], {})} for entry in read]
    key = "dataset" if source is None else "source"
    names = manifest["recipe"].get(key) or ()
    named = [known[name]["id"] if name in known else name for name in ([names] if isinstance(names, str) else names)]
    recipe = {**manifest["recipe"], key: named}
    if source is None:
        return {**manifest, "datasets": entries, "recipe": recipe}
    if len(entries) == 1:
        return {**manifest, "source": entries[0], "recipe": recipe}
    # The joined name is no path, so that nothing later would take folders out of it.
    of_all = " + ".join(entry["id"] if entry.get("revision") else Path(entry["id"]).name for entry in entries)
    return {**manifest, "source": join_sources({**source, "id": of_all}, entries), "recipe": recipe}


def _known(entries: Sequence[Mapping[str, Any]], endpoint: str) -> dict[str, dict[str, str]]:
    """Where those tables of this machine that were published are, by their ids."""
    known: dict[str, dict[str, str]] = {}
    for entry in entries:
        if is_commit(entry.get("revision")):
            continue
        if found := published_dataset(Path(entry["id"]), endpoint, str(entry.get("fingerprint"))):
            known[entry["id"]] = found
    return known
