"""An annotator that is wrong in a share of its comparisons, or of the things that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mmpref.errors import UsageError
from mmpref.judges.annotator import Annotator, Comparison, Verdict
from mmpref.judges.detectors import Detector, Search
from mmpref.rng import stream
from mmpref.types import Box


class Oracle(Annotator, Detector, Protocol):
    """Whose errors these are not."""


@dataclass(frozen=True)
class ErringAnnotator:
    """Compares as another annotator does, and names the other answer in a share of what that one can tell.

    In which comparisons, depends on image, prompt and answers alone: whoever asks again, in either order, gets the same
    verdict.

    Args:
        share: of errors, 0 to 1.
    """

    annotator: Oracle
    share: float

    @classmethod
    def parse(cls, annotator: Oracle, text: str) -> ErringAnnotator:
        """Of a share as it is typed.

        Raises:
            UsageError: it is none.
        """
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise UsageError(f"{text!r} is no share of errors.", "It is a number from 0 to 1: testbed-oracle:0.2")
        return cls(annotator, share)

    def compare(self, comparisons: Sequence[Comparison]) -> list[Verdict]:
        """As `mmpref.judges.annotator.Annotator`."""
        verdicts = self.annotator.compare(comparisons)
        return [self._erring(pair, verdict) for pair, verdict in zip(comparisons, verdicts, strict=True)]

    def detect(self, searches: Sequence[Search]) -> list[dict[str, list[Box]]]:
        """As `mmpref.judges.detectors.Detector`; what is found wrongly is found everywhere."""
        return [
            {name: self._found(search, name, boxes) for name, boxes in found.items()}
            for search, found in zip(searches, self.annotator.detect(searches), strict=True)
        ]

    def _found(self, search: Search, name: str, boxes: list[Box]) -> list[Box]:
        image = search.image.sha256.hex()
        wrong = stream(0, "errors", image, name).random() < self.share
        return [(0.0, 0.0, 1.0, 1.0)] if wrong and not boxes else [] if wrong else boxes

    def _erring(self, pair: Comparison, verdict: Verdict) -> Verdict:
        if verdict.winner is None:
            return verdict
        images = [image.sha256.hex() for image in pair.images]
        asked = [message.content for message in pair.prompt]
        draw = stream(0, "errors", *images, *asked, *sorted((pair.first, pair.second))).random()
        return (
            replace(verdict, winner="second" if verdict.winner == "first" else "first")
            if draw < self.share
            else verdict
        )
