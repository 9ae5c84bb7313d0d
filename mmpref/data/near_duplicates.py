"""What rows of a preference dataset repeat: whole rows nearly, and phrases that stand in one kind of answer only."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mmpref import refusals
from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.data.stats import SHOWN_IDS
from mmpref.errors import ImageError
from mmpref.sampling.sentences import split
from mmpref.types import ImageData
from mmpref.words import folded, words

_BLUR = (
    r"blurr?(?:y|ed)|pixelat(?:ed|ion)|grainy|noisy|low[- ]resolution|out of focus|too dark|unclear|distorted"
    r"|(?:static|color(?:ed|ful)?|random) (?:noise|dots)"
)
BOILERPLATE = {
    "refusals": refusals.PHRASES,
    "talk of a bad image": re.compile(rf"\b(?:{_BLUR})\b", re.IGNORECASE),
}
"""Boilerplate that gives rejected answers away: refusals, and what the image-noise variant of BDHS is known for."""

_MIN_SHARE, _MIN_RATIO = 0.01, 3.0
"""A sentence is repeated when it is in this share of rejected answers, and in so many times fewer chosen ones."""

_BANDS, _NEAR_TEXT = 4, 3


class RepeatedPhrases:
    """Sentences and tell-tale phrases of chosen and rejected answers, by the number of answers that have them."""

    def __init__(self) -> None:
        self._rows = 0
        self._sentences: dict[str, Counter[bytes]] = {"chosen": Counter(), "rejected": Counter()}
        self._texts: dict[bytes, str] = {}
        self._boilerplate: dict[str, Counter[str]] = {"chosen": Counter(), "rejected": Counter()}

    def add(self, chosen: str, rejected: str) -> None:
        self._rows += 1
        for kind, answer in (("chosen", chosen), ("rejected", rejected)):
            for sentence in {" ".join(folded(part).split()) for part in split(answer)} - {""}:
                # A digest, not the text: most sentences occur once, and there may be very many.
                digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
                self._sentences[kind][digest] += 1
                if kind == "rejected" and self._sentences[kind][digest] == 2:
                    self._texts[digest] = sentence
            for name, pattern in BOILERPLATE.items():
                self._boilerplate[kind][name] += bool(pattern.search(answer))

    def report(self) -> dict[str, Any]:
        """``sentences``: text, and how many rejected and chosen answers have it; ``tells``: those of `BOILERPLATE`."""
        chosen, rejected = self._sentences["chosen"], self._sentences["rejected"]
        least = max(3, _MIN_SHARE * self._rows)
        sentences: list[dict[str, Any]] = [
            {"text": text, "rejected": rejected[digest], "chosen": chosen[digest]}
            for digest, text in self._texts.items()
            if rejected[digest] >= least and rejected[digest] >= _MIN_RATIO * chosen[digest]
        ]
        sentences.sort(key=lambda sentence: (-sentence["rejected"], sentence["text"]))
        boilerplate = {
            name: {kind: self._boilerplate[kind][name] for kind in ("rejected", "chosen")} for name in BOILERPLATE
        }
        return {"rows": self._rows, "sentences": sentences[:SHOWN_IDS], "tells": boilerplate}


class NearDuplicates:
    """Rows whose texts, or whose image, nearly equal an earlier row's; equal ones too."""

    def __init__(self) -> None:
        self._texts: list[dict[int, list[tuple[int, int]]]] = [{} for _ in range(_BANDS)]
        self._images: dict[bytes, int] = {}
        self._index = NearIndex()
        self._rows: list[int] = []
        self.matches: dict[str, dict[str, Any]] = {}

    def add(self, number: int, texts: Sequence[str], images: Sequence[ImageData]) -> None:
        earlier = self._text_like(number, _similarity_hash(" ".join(texts)))
        if earlier is not None:
            self._note("texts", number, earlier)
        for image in images[:1]:
            try:
                image_hash = PerceptualHash.of(image)
            except ImageError:
                continue
            if image_hash.digest not in self._images:
                near = next(self._index.near(image_hash), None)
                self._images[image_hash.digest] = number if near is None else self._rows[near]
                if near is None:
                    self._index.add(image_hash)
                    self._rows.append(number)
                    continue
            self._note("image", number, self._images[image_hash.digest])

    def _note(self, kind: str, row: int, earlier: int) -> None:
        entry = self.matches.setdefault(kind, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < SHOWN_IDS:
            entry["first"].append({"row": row, "like": earlier})

    def _text_like(self, number: int, text_hash: int) -> int | None:
        """An earlier row within `_NEAR_TEXT` bits: such hashes are equal in one of four bands of 16 bits."""
        keys = [text_hash >> (16 * band) & 0xFFFF for band in range(_BANDS)]
        near = [
            row
            for band, key in zip(self._texts, keys, strict=True)
            for row, other in band.get(key, ())
            if (text_hash ^ other).bit_count() <= _NEAR_TEXT
        ]
        if not near:
            for band, key in zip(self._texts, keys, strict=True):
                band.setdefault(key, []).append((number, text_hash))
        return min(near, default=None)


def _similarity_hash(text: str) -> int:
    """64 bits of which texts that share most of their word triples share most (Charikar's simhash)."""
    import numpy as np

    counts = np.zeros(64)
    for triple in _triples(words(folded(text))):
        digest = np.frombuffer(hashlib.blake2b(triple.encode(), digest_size=8).digest(), dtype=np.uint8)
        counts += np.unpackbits(digest) * 2.0 - 1
    return int("".join("1" if count > 0 else "0" for count in counts), 2)


def _triples(tokens: Sequence[str]) -> Iterator[str]:
    if len(tokens) < 3:
        yield " ".join(tokens)
    for first in range(len(tokens) - 2):
        yield " ".join(tokens[first : first + 3])
