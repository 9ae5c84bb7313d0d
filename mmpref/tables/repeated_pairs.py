"""Pairs that say again what another says of the same images and prompt, and pairs that say the opposite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mmpref.log import counted
from mmpref.types import ImageData, Message, as_dicts

_MEANINGS = {
    "duplicates": "repeat an earlier one: the same images, prompt and answers",
    "conflicts": "contradict another one: the same images and prompt, with chosen and rejected swapped",
}
_DIGITS = 32
"""Of each digest, in hexadecimal."""


class PairKeys(NamedTuple):
    """What a pair is known by, and what one that prefers the other answer would be."""

    own: str
    swapped: str


def pair_keys(images: Iterable[ImageData], prompt: Sequence[Message], chosen: str, rejected: str) -> PairKeys:
    """Of a pair. Images are the same where their bytes are."""
    about = [[image.sha256.hex() for image in images], as_dicts(prompt)]

    def key(*answers: str) -> str:
        return hashlib.sha256(json.dumps([about, answers]).encode()).hexdigest()[:_DIGITS]

    return PairKeys(key(chosen, rejected), key(rejected, chosen))


class RepeatedPairs:
    """Counts them, pair by pair.

    ``duplicates`` are pairs that equal an earlier one; ``conflicts`` those of which some pair is the opposite, chosen
    and rejected swapped.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self.duplicates = self.conflicts = 0

    def add(self, pair: PairKeys) -> None:
        known, opposite = self._seen.get(pair.own, 0), self._seen.get(pair.swapped, 0)
        self._seen[pair.own] = known + 1
        self.duplicates += bool(known)
        if opposite and pair.own != pair.swapped:
            self.conflicts += 1 if known else 1 + opposite

    def counts(self) -> dict[str, int]:
        """Those that are not 0."""
        found = {"duplicates": self.duplicates, "conflicts": self.conflicts}
        return {name: count for name, count in found.items() if count}


def repeated_warnings(counts: Mapping[str, int], pairs: int) -> list[str]:
    """A sentence for each of `RepeatedPairs.counts`, of so many pairs."""
    return [f"{count:,} of {counted(pairs, 'pair')} {_MEANINGS[name]}." for name, count in counts.items()]
