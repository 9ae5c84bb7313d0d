"""Merging our card into the one that is on the Hub: our metadata and text, plus the keys that are not ours."""

from __future__ import annotations

import re

import yaml

from mmpref.errors import HubError, InputError

FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(?P<yaml>.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def split_card(card: str) -> tuple[str, str]:
    """The metadata block (YAML text without its fences, "" where there is none) and the body."""
    match = FRONT.match(card)
    return (match.group("yaml"), card[match.end() :]) if match else ("", card)


def front_matter_blocks(text: str) -> dict[str, str]:
    """Each top-level key with its lines as written; raises yaml.YAMLError.

    Text, not values: a foreign `language: no`, a date or a comment must come back as it was.
    """
    node = yaml.compose(text, yaml.SafeLoader)
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise yaml.YAMLError("the metadata is not a mapping")
    if node.flow_style:
        data = yaml.safe_load(text)
        return {key: yaml.safe_dump({key: data[key]}, allow_unicode=True) for key in data}
    lines = text.splitlines(keepends=True)
    starts = [key.start_mark.line for key, _ in node.value] + [len(lines)]
    spans = zip(node.value, starts, starts[1:], strict=False)
    return {key.value: "".join(lines[start:end]) for (key, _), start, end in spans}


def merge_cards(remote: str | None, local: str) -> str:
    """Our card, with the remote card's metadata keys that ours does not have.

    Keys of ours win; `configs`, `dataset_info` and any other key that only the remote card has are kept as
    written there; our body replaces the remote one. Merging the result again changes nothing.

    Raises:
        HubError: the remote metadata is not valid YAML.
        InputError: ours is not.
    """
    ours, body = split_card(local)
    try:
        mine = front_matter_blocks(ours)
    except yaml.YAMLError as error:
        raise InputError(f"README.md: the metadata is not valid YAML ({_flat(error)}).") from error
    if remote is None:
        return local
    try:
        theirs = front_matter_blocks(split_card(remote)[0])
    except yaml.YAMLError as error:
        raise HubError(
            f"The card on the Hub has metadata that is not valid YAML ({_flat(error)}).",
            "Repair README.md there and publish again.",
        ) from error
    kept = [block if block.endswith("\n") else f"{block}\n" for key, block in theirs.items() if key not in mine]
    if not kept:
        return local
    ours = ours if ours.endswith("\n") or not ours else f"{ours}\n"
    merged = f"{ours}{''.join(kept)}"
    try:
        yaml.compose(merged, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise HubError(
            f"The metadata of the card on the Hub cannot be merged with ours ({_flat(error)}).",
            "Simplify README.md there (no anchors across keys) and publish again.",
        ) from error
    return f"---\n{merged}---\n{body}"


def _flat(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
