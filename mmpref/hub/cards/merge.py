"""Merging our card into the one that is there: foreign metadata keys, and what an owner writes outside of our marker
comments, survive every later publishing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import yaml

from mmpref.errors import HubError, InputError

_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(?P<yaml>.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
BEGIN, END = "<!-- mmpref:results:begin -->", "<!-- mmpref:results:end -->"
_RESULTS_BLOCK = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)
MAIN_BLOCK = re.compile(r"<!-- mmpref:begin run=(?P<run>\w*) -->.*?<!-- mmpref:end -->", re.DOTALL)
LICENCE_NAMES = ("license_name", "license_link")
"""Keys that say more of ``license``."""


def split_card(card: str) -> tuple[str, str]:
    """The metadata block (YAML text without its fences, "" where there is none) and the body."""
    match = _FRONT.match(card)
    return (match.group("yaml"), card[match.end() :]) if match else ("", card)


@contextlib.contextmanager
def _as_yaml_error() -> Iterator[None]:
    """What PyYAML leaves to Python: a date such as 2024-13-45, and brackets in brackets beyond its stack."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError("nested too deeply" if isinstance(error, RecursionError) else str(error)) from error


def load_metadata(text: str) -> Any:
    """The values of a metadata block; raises yaml.YAMLError, and no other error."""
    with _as_yaml_error():
        return yaml.safe_load(text)


def _compose(text: str) -> yaml.Node | None:
    with _as_yaml_error():
        return yaml.compose(text, yaml.SafeLoader)


def front_matter_blocks(text: str) -> dict[str, str]:
    """Each top-level key with its lines as written; raises yaml.YAMLError, and no other error.

    Text, not values: a foreign `language: no`, a date or a comment must come back as it was.
    """
    node = _compose(text)
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise yaml.YAMLError("the metadata is not a mapping")
    if node.flow_style:
        data = load_metadata(text)
        return {key: yaml.safe_dump({key: data[key]}, allow_unicode=True) for key in data}
    lines = text.splitlines(keepends=True)
    starts = [key.start_mark.line for key, _ in node.value] + [len(lines)]
    spans = zip(node.value, starts, starts[1:], strict=False)
    return {key.value: "".join(lines[start:end]) for (key, _), start, end in spans}


def join_card(blocks: Iterable[str], body: str) -> str:
    """The card of `front_matter_blocks` and a body."""
    metadata = "".join(block if block.endswith("\n") else f"{block}\n" for block in blocks)
    return f"---\n{metadata}---\n{body}"


def of_another_run(card: str) -> str:
    """A card, of another run than any: where the files beside it are others than ours, one recipe made both."""
    return MAIN_BLOCK.sub(lambda block: block.group().replace(f"run={block['run']} ", "run= ", 1), card, count=1)


def is_of_one_run(remote: str, ours: str) -> bool:
    """Whether both cards have our marker, of one run."""
    theirs, own = (MAIN_BLOCK.search(split_card(card)[1]) for card in (remote, ours))
    return bool(theirs and own and theirs["run"] == own["run"])


def keys_of_another_run(remote: str, ours: str, keys: Collection[str]) -> Collection[str]:
    """Those of the keys that mmpref writes where it knows their value, if the remote card is another run's: of ours
    they would not be true."""
    return keys if MAIN_BLOCK.search(split_card(remote)[1]) and not is_of_one_run(remote, ours) else ()


def owners_tags(remote: str, ours: str) -> list[str]:
    """Tags of the remote card that ours does not have, where both are of one run: its owner's. Of another run's card
    nobody could tell whose they are.

    Raises:
        HubError: the remote metadata is not valid YAML.
    """
    own, theirs = metadata_there(ours).get("tags") or (), metadata_there(remote).get("tags")
    if not is_of_one_run(remote, ours) or not isinstance(theirs, list):
        return []
    return [tag for tag in theirs if isinstance(tag, str) and tag not in own]


def merge_cards(remote: str | None, local: str, gone: Collection[str] = ()) -> str:
    """Our card, with the remote card's metadata keys that ours does not have.

    Keys of ours win; `configs`, `dataset_info` and any other key that only the remote card has are kept as
    written there, but for what names a licence that ours replaces; our body replaces the remote one. Merging the
    result again changes nothing.

    Args:
        gone: keys of the remote card that do not stay.

    Raises:
        HubError: the remote metadata is not valid YAML.
        InputError: ours is not.
    """
    ours, body = split_card(local)
    try:
        mine = front_matter_blocks(ours)
    except yaml.YAMLError as error:
        raise InputError(f"README.md: the metadata is not valid YAML ({_one_line(error)}).") from error
    if remote is None:
        return local
    try:
        theirs = front_matter_blocks(split_card(remote)[0])
    except yaml.YAMLError as error:
        raise _broken(error) from error
    gone = {*mine, *gone, *(LICENCE_NAMES if "license" in mine else ())}
    foreign = [block for key, block in theirs.items() if key not in gone]
    if not foreign:
        return local
    merged = join_card([ours, *foreign] if ours else foreign, body)
    try:
        _compose(split_card(merged)[0])
    except yaml.YAMLError as error:
        raise HubError(
            f"The metadata of the card on the Hub cannot be merged with ours ({_one_line(error)}).",
            "Simplify README.md there (no anchors across keys) and publish again.",
        ) from error
    return merged


def metadata_there(card: str) -> dict[str, Any]:
    """The values of the metadata of a card on the Hub, or of one that was merged with it.

    Raises:
        HubError: they are not valid YAML.
    """
    try:
        return load_metadata(split_card(card)[0]) or {}
    except yaml.YAMLError as error:
        raise _broken(error) from error


def _broken(error: yaml.YAMLError) -> HubError:
    return HubError(
        f"The card on the Hub has metadata that is not valid YAML ({_one_line(error)}).",
        "Repair README.md there and publish again.",
    )


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


def put_block(body: str, block: str) -> str:
    """`body` with its results block replaced, or with the block at its end."""
    if _RESULTS_BLOCK.search(body):
        return _RESULTS_BLOCK.sub(lambda _: block, body, count=1)
    return f"{body.rstrip()}\n\n{block}\n" if body.strip() else f"\n{block}\n"


def find_block(body: str) -> str | None:
    """The results block of a body."""
    match = _RESULTS_BLOCK.search(body)
    return match.group() if match else None


def merge_own_text(remote: str | None, ours: str, gone: Collection[str] = ()) -> str:
    """Our card with foreign metadata keys of the remote one and the owner's text outside of our markers, or with
    that of ours where the remote one has none; `gone` as of `merge_cards`."""
    merged = merge_cards(remote, ours, gone)
    if remote is None:
        return merged
    front, body = split_card(merged)
    theirs, block = split_card(remote)[1], MAIN_BLOCK.search(body)
    if block is None or not MAIN_BLOCK.search(theirs) or not _own_text(theirs):
        return merged
    updated = MAIN_BLOCK.sub(lambda _: block.group(), theirs, count=1)
    results = find_block(body)
    return join_card([front], put_block(updated, results) if results else updated)


def _own_text(body: str) -> str:
    return _RESULTS_BLOCK.sub("", MAIN_BLOCK.sub("", body)).strip()
