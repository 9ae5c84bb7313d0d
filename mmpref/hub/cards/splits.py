"""Several splits and configurations in one dataset repository: a push of one leaves the others loadable."""

from __future__ import annotations

from typing import Any

import yaml

from mmpref.hub.cards.merge import front_matter_blocks, join_card, merge_own_text, split_card

_DEFAULT = "default"


def merge_dataset_card(remote: str | None, ours: str) -> str:
    """Our dataset card on top of the one on the Hub: other splits and configurations stay named in its metadata.

    Raises:
        HubError: the remote metadata is not valid YAML.
    """
    merged = merge_own_text(remote, ours)
    if remote is None:
        return merged
    old = yaml.safe_load(split_card(remote)[0]) or {}
    front, body = split_card(merged)
    blocks, new = front_matter_blocks(front), yaml.safe_load(front)
    configs, infos = _configs(old.get("configs"), new["configs"]), _infos(old.get("dataset_info"), new["dataset_info"])
    for key, value in (("configs", configs), ("dataset_info", infos)):
        if value != new[key]:
            blocks[key] = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
    if configs != new["configs"] and (licences := _licences(old.get("license"), new.get("license"))):
        blocks["license"] = yaml.safe_dump({"license": licences}, sort_keys=False)
    return join_card(blocks.values(), body)


def _licences(old: Any, new: Any) -> list[Any] | None:
    """Both licences where data of both stay, each once; None where there is one only, which is ours."""
    stated = [name for value in (old, new) for name in (value if isinstance(value, list) else [value]) if name]
    names = list(dict.fromkeys(map(str, stated)))
    return names if len(names) > 1 else None


def _merged_by(key: str, old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of both, named by `key`; ours replace theirs in their place."""
    theirs = [entry for entry in old if isinstance(entry, dict) and key in entry] if isinstance(old, list) else []
    return list(({entry[key]: entry for entry in theirs} | {entry[key]: entry for entry in new}).values())


def _configs(old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    theirs = next((entry for entry in _merged_by("config_name", old, []) if entry["config_name"] == _DEFAULT), {})
    return [
        {**entry, "data_files": _merged_by("split", theirs.get("data_files"), new[0]["data_files"])}
        if entry["config_name"] == _DEFAULT
        else entry
        for entry in _merged_by("config_name", old, new)
    ]


def _infos(old: Any, new: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
    theirs = [{"config_name": _DEFAULT, **entry} for entry in ([old] if isinstance(old, dict) else old or [])]
    their_default = next((entry for entry in theirs if entry["config_name"] == _DEFAULT), {})
    splits = _merged_by("name", their_default.get("splits"), new["splits"])
    ours = {**new, "splits": splits}
    if len(splits) > len(new["splits"]):
        ours["dataset_size"] = sum(split["num_bytes"] for split in splits)
        ours.pop("download_size", None)  # That of the other splits is known to the Hub alone.
    others = [entry for entry in theirs if entry["config_name"] != _DEFAULT]
    return [*others, {"config_name": _DEFAULT, **ours}] if others else ours
