"""The data that an adapter was trained on, or pairs were made of, as others find them: where their run was published,
and who sees that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from mmpref.hub._calls import CALL_ERRORS
from mmpref.hub.published import published_dataset
from mmpref.hub_ids import dataset_of, is_commit
from mmpref.licence import join_sources
from mmpref.log import logger


def trained_on(manifest: Mapping[str, Any]) -> list[str]:
    """The Hub's datasets that a training read, each once."""
    return _of_hub(manifest.get("datasets", ()))


def _of_hub(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    at_commit = [dataset_of(entry["id"])[0] for entry in entries if is_commit(entry.get("revision"))]
    return list(dict.fromkeys(name for name in at_commit if name))


def _read_by(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
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
    source, read = manifest.get("source"), _read_by(manifest)
    known: dict[str, dict[str, str]] = {}
    for entry in read:
        if is_commit(entry.get("revision")):
            continue
        if found := published_dataset(Path(entry["id"]), endpoint, str(entry.get("fingerprint"))):
            known[entry["id"]] = found
    if not known:
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


def warn_of_private(manifest: Mapping[str, Any], api: HfApi) -> None:
    """Say which data the card of a public model or dataset names that others cannot see."""
    use, made = ("train on it", "model") if manifest.get("source") is None else ("read it", "dataset")
    for name in _of_hub(_read_by(manifest)):
        try:
            api.dataset_info(name, token=False)
        except RepositoryNotFoundError:
            logger.warning(
                "Warning: the card names the dataset %s, which is private or gone: others read its name, and cannot "
                "%s. Make it public, or the %s private.",
                name,
                use,
                made,
            )
        except CALL_ERRORS:
            return
