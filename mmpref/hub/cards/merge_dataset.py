"""Merging a dataset's card into the one that is there: splits and configurations beside ours stay named, and what the
card says of the whole is of the whole.

What a card says of each split that was published by itself stands in a comment, so that it goes with that split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from mmpref.hub.cards.markdown import code, hidden, table, text
from mmpref.hub.cards.merge import (
    MAIN_BLOCK,
    front_matter_blocks,
    join_card,
    keys_of_another_run,
    merge_own_text,
    metadata_there,
    owners_tags,
    split_card,
)
from mmpref.hub.cards.metadata import KNOWN_OF_A_RUN, SIZES, size_category
from mmpref.text_files import NOT_JSON

Facts = Mapping[str, Sequence[str]]
"""What metadata say of a split, by their key."""
_FACTS = ("pretty_name", "license", "license_name", "license_link", "language", "tags")
_DEFAULT = "default"
_NAME = "splits"
_COMMENT = re.compile(rf"<!-- mmpref:{_NAME} (.*?) -->")
_TITLE = re.compile(r"(?<=-->\n)# [^\n]*\n")


def merge_dataset_card(remote: str | None, ours: str) -> str:
    """Our dataset card on top of the one on the Hub: other splits and configurations stay named in its metadata, whose
    size, licences, languages, tags and name are those of all; a sentence says which splits the text is about.

    Raises:
        HubError: the remote metadata is not valid YAML.
    """
    if remote is None:
        return merge_own_text(None, ours)
    merged = merge_own_text(remote, ours, keys_of_another_run(remote, ours, KNOWN_OF_A_RUN["dataset"]))
    old, new = metadata_there(remote), metadata_there(ours)
    front, body = split_card(merged)
    all_of: dict[str, Any] = {
        "configs": _merged_configs(old.get("configs"), new["configs"]),
        "dataset_info": _merged_infos(old.get("dataset_info"), new["dataset_info"]),
    }
    if all_of["configs"] != new["configs"]:
        splits = _splits(all_of["configs"])
        own, recorded = set(_splits(new["configs"])), _recorded(remote)
        parts = {name: _facts(new) if name in own else recorded.get(name, _facts(old)) for name in splits}
        beside = [_facts(old)] if len(all_of["configs"]) > 1 else []
        all_of |= _of_all([*beside, *parts.values()]) | {"size_categories": _sizes(old, new, all_of)}
        if len(parts) > len(own):
            all_of["pretty_name"] = " + ".join(_each(parts.values(), "pretty_name")) or new["pretty_name"]
            body = _with_parts(body, all_of, parts, [name for name in splits if name in own])
    all_of["tags"] = list(dict.fromkeys([*all_of.get("tags", new["tags"]), *owners_tags(remote, ours)]))
    blocks = front_matter_blocks(front)
    if "license_name" in all_of and "license_link" not in all_of:  # of several, none has the link of one
        blocks.pop("license_link", None)
    for key, value in all_of.items():
        if value != new.get(key):
            blocks[key] = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
    return join_card(blocks.values(), body)


def _facts(metadata: Mapping[str, Any]) -> Facts:
    return {key: _texts(metadata.get(key)) for key in _FACTS}


def _texts(value: Any) -> list[str]:
    """The texts of an entry, one or several; Norwegian is what YAML reads as a falsehood."""
    values = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else "no" for one in values if isinstance(one, str) or one is False]


def _each(facts: Iterable[Facts], key: str) -> list[str]:
    return list(dict.fromkeys(value for of in facts for value in of[key]))


def _of_all(facts: Sequence[Facts]) -> dict[str, Any]:
    """Metadata of several parts together, those that hold something."""
    found = {key: _each(facts, key) for key in ("license", "language", "tags")}
    of_all: dict[str, Any] = {key: values for key, values in found.items() if values}
    if len(found["license"]) == 1:
        of_all["license"] = found["license"][0]
    named = [of for of in facts if "other" in of["license"]]
    if names := _each(named, "license_name"):
        of_all["license_name"] = "-and-".join(names)
        links = _each(named, "license_link")
        of_all |= {"license_link": links[0]} if len(names) == len(links) == 1 else {}
    return of_all


def _sizes(old: Mapping[str, Any], new: Mapping[str, Any], all_of: Mapping[str, Any]) -> list[str]:
    """The category of all rows; those that are stated, where somebody's configuration does not say how many it has."""
    infos, configs = _list(all_of["dataset_info"]), all_of["configs"]
    counts: list[Any] = [split.get("num_examples") for info in infos for split in _mappings(info.get("splits"))]
    told = len(infos) == len(configs) and _splits(configs) == list(_rows(infos))
    if told and all(isinstance(count, int) for count in counts):
        return [size_category(sum(counts))]
    stated = {*_texts(old.get("size_categories")), *new["size_categories"]}
    return [size for size in SIZES if size in stated]


def _rows(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many each split of our configuration has."""
    ours = (info for info in infos if info.get("config_name", _DEFAULT) == _DEFAULT)
    return {str(split.get("name")): split.get("num_examples") for info in ours for split in _mappings(info["splits"])}


def _with_parts(body: str, of_all: Mapping[str, Any], parts: Mapping[str, Facts], own: Sequence[str]) -> str:
    """The text under a title of all splits, with a table of them, and which of them it is about."""
    rows = _rows(_list(of_all["dataset_info"]))
    lines = [
        (
            code(name),
            f"{rows[name]:,}" if isinstance(rows.get(name), int) else "–",
            text(" ".join(of["pretty_name"]) or "–"),
            code(", ".join(of["license_name"] or of["license"]) or "unknown"),
            text(", ".join(of["language"]) or "not determined"),
        )
        for name, of in parts.items()
    ]
    about = " and ".join(map(code, own))
    return MAIN_BLOCK.sub(
        lambda block: _TITLE.sub(
            lambda _: (
                f"# {text(of_all['pretty_name'])}\n\n{hidden(_NAME, parts)}\n"
                f"The splits of this dataset were published one after the other. **The text below is about {about} "
                "alone**, which came last, and so are `run.json` and `report.json`; what was said of the others is in "
                "the history of this card.\n\n"
                + table(("split", "pairs", "what", "licence", "language"), lines, texts=(2, 3, 4))
                + "\n"
            ),
            block.group(),
            count=1,
        ),
        body,
        count=1,
    )


def _recorded(card: str) -> dict[str, Facts]:
    """What the card carries of each split; nothing where it carries none, or that was edited."""
    block = MAIN_BLOCK.search(split_card(card)[1])
    comment = _COMMENT.search(block.group()) if block else None
    try:
        content = json.loads(comment.group(1)) if comment else {}
    except NOT_JSON:
        return {}
    parts = content.items() if isinstance(content, dict) else ()
    return {name: _facts(of) for name, of in parts if isinstance(of, dict)}


def _splits(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of our configuration."""
    return [
        str(entry["split"])
        for config in configs
        if config["config_name"] == _DEFAULT
        for entry in _mappings(config.get("data_files"))
        if "split" in entry
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _mappings(value: Any) -> list[dict[str, Any]]:
    """Of a stranger's list, which may hold anything."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _merged_by(key: str, old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of both, named by `key`; ours replace theirs in their place."""
    theirs = [entry for entry in _mappings(old) if key in entry]
    return list(({entry[key]: entry for entry in theirs} | {entry[key]: entry for entry in new}).values())


def _merged_configs(old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    theirs = next((entry for entry in _merged_by("config_name", old, []) if entry["config_name"] == _DEFAULT), {})
    return [
        {**entry, "data_files": _merged_by("split", theirs.get("data_files"), new[0]["data_files"])}
        if entry["config_name"] == _DEFAULT
        else entry
        for entry in _merged_by("config_name", old, new)
    ]


def _merged_infos(old: Any, new: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
    theirs = [{"config_name": _DEFAULT, **entry} for entry in _mappings(_list(old))]
    their_default = next((entry for entry in theirs if entry["config_name"] == _DEFAULT), {})
    splits = _merged_by("name", their_default.get("splits"), new["splits"])
    ours = {**new, "splits": splits}
    if len(splits) > len(new["splits"]):
        sizes: list[Any] = [split.get("num_bytes") for split in splits]
        ours |= {"dataset_size": sum(sizes)} if all(isinstance(size, int) for size in sizes) else {}
        ours.pop("download_size", None)  # That of the other splits is known to the Hub alone.
    others = [entry for entry in theirs if entry["config_name"] != _DEFAULT]
    return [*others, {"config_name": _DEFAULT, **ours}] if others else ours
