"""Names of files that are parts of one table: ``train-00000-of-00003.parquet``, with a hash behind it in older sets."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]{16})?(?P<ending>\..+)?")


def stem_of_shard(name: str) -> str | None:
    """What stands before the numbers (``train``); None of a name without them."""
    shard = _SHARD.fullmatch(name)
    return shard["stem"] if shard else None


def missing_shards(names: Iterable[str]) -> list[str]:
    """The files that ``-of-00003`` speaks of and that are not among the names, without the hash that they may have."""
    there: dict[tuple[str, str, str], set[int]] = {}
    for shard in filter(None, map(_SHARD.fullmatch, names)):
        there.setdefault((shard["stem"], shard["count"], shard["ending"] or ""), set()).add(int(shard["number"]))
    return [
        f"{stem}-{number:05d}-of-{count}{ending}"
        for (stem, count, ending), numbers in there.items()
        for number in range(int(count))
        if number not in numbers
    ]


def several_versions(names: Iterable[str]) -> list[str]:
    """Two of the names that are shards of one table by different counts, as an older version leaves them behind; none
    where there are no such."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for name in names:
        if shard := _SHARD.fullmatch(name):
            before, count = first.setdefault((shard["stem"], shard["ending"] or ""), (name, shard["count"]))
            if count != shard["count"]:
                return [before, name]
    return []
