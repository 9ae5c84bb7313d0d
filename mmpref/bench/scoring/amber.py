"""AMBER's counting, as published (junyangwang0410/AMBER `inference.py`, Apache-2.0), with its word tables from files.

Captions. A noun counts if it is a key or a value of ``relation.json``. It is fine if it is a safe word, or an object of
the image or one of its relations; the object then counts as covered. Anything else counts towards the objects that
people tend to imagine (the list ``hallu``; "cog") where it equals, or is similar to, one of them or of their relations,
and is a hallucination unless it is similar to something in the image. Of a word of several objects only the first is
covered.

The original finds nouns by nltk's tagger and lemmatizer, and takes two words for similar where spaCy's `en_core_web_lg`
says more than 0.8. Neither model can be had here, so `nouns` finds the table's own single words, in any case and made
singular by `inflect`, and nothing is similar. That is another number, and its metrics are called ``_lexical``; `count`
itself takes either.

Questions. Only the exact answers "Yes" and "No" count, and "No" is the positive class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpref.errors import InputError, brief
from mmpref.log import warn
from mmpref.synonyms import singular
from mmpref.text_files import read_json, read_text

Similar = Callable[[str, str], bool]
_WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
EPSILON = 1e-3
"""Where the original's denominators begin (`data/metrics.txt`), so that its F1 and AMBER score have a value over
nothing too. Rates alone are made without it, and have none."""


@dataclass(frozen=True)
class Tables:
    """The authors' word tables.

    Args:
        relation: object -> words that go with it.
        safe: words that are never counted as hallucinated.
    """

    relation: Mapping[str, Sequence[str]]
    safe: frozenset[str] = frozenset()

    @classmethod
    def read(cls, relation: str, safe: str | None) -> Tables:
        """Read ``data/relation.json`` and ``data/safe_words.txt`` of the authors' repository.

        Its words are taken in lower case, as captions are.

        Raises:
            InputError: no such file, another form, or an object that no single word of letters tells (`nouns`).
        """
        for path in filter(None, (relation, safe)):
            if not Path(path).is_file():
                raise InputError(f"There is no word table at {path}.", "Take data/ of the AMBER authors' repository.")
        words = read_json(Path(relation))
        if not isinstance(words, dict) or not all(
            isinstance(value, list) and all(isinstance(word, str) for word in value) for value in words.values()
        ):
            raise InputError(f"{relation} is no mapping from objects to lists of words.")
        lowered: dict[str, list[str]] = {}
        for name, related in words.items():
            lowered.setdefault(name.lower(), []).extend(word.lower() for word in related)
        _refuse_longer(relation, lowered)
        lines = read_text(Path(safe)).lower().splitlines() if safe else []
        return cls(lowered, frozenset(lines))

    @property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(self.relation) | {word for words in self.relation.values() for word in words}

    def object_of(self, name: str) -> str:
        """The object that an annotation names: as the table has it, or else in lower case and singular, as captions are
        read. One that is not in the table stays as it is."""
        written = (name, name.strip().lower(), singular(name.strip().lower()))
        return next((form for form in written if form in self.relation), name)

    def with_relations(self, objects: Sequence[str]) -> list[tuple[str, int]]:
        """The relations of objects, then the objects, each with the number of its object.

        Raises:
            KeyError: an object that is no key of the table.
        """
        related = [(word, index) for index, name in enumerate(objects) for word in self.relation[name]]
        return [*related, *((name, index) for index, name in enumerate(objects))]


def _refuse_longer(path: str, relation: Mapping[str, Sequence[str]]) -> None:
    """
    Raises:
        InputError: an object that captions cannot be searched for. Of related words that they cannot it is warned.
    """
    for name, related in relation.items():
        if not any(map(_WORD.fullmatch, (name, *related))):
            raise InputError(
                f"{path}: {brief(repr(name), 60)} has no name of one word of the letters a to z, and "
                "captions are searched for no others.",
                "Give it one among its related words.",
            )
    lost = [word for related in relation.values() for word in related if not _WORD.fullmatch(word)]
    if lost:
        more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        warn(
            f"{path}: {brief(repr(lost[0]), 60)} is no single word of the letters a to z{more}: captions are searched "
            "for no others."
        )


def exactly(_first: str, _second: str) -> bool:
    """The similarity of words that are not equal: none."""
    return False


def nouns(text: str, tables: Tables) -> list[str]:
    """The table's words in a text, in order, repeats kept; plurals are made singular where they are not in it."""
    known = tables.vocabulary
    words = (word if word in known else singular(word) for word in _WORD.findall(text.lower()))
    return [word for word in words if word in known]


def count(
    mentioned: Sequence[str], truth: Sequence[str], imagined: Sequence[str], tables: Tables, similar: Similar = exactly
) -> dict[str, float]:
    """Counts of one caption.

    Args:
        mentioned: nouns of the caption that are in the tables.
        truth, imagined: objects of the annotation's ``truth`` and ``hallu``.
    """
    there, often = tables.with_relations(truth), tables.with_relations(imagined)
    covered: set[int] = set()
    conjured: set[int] = set()
    hallucinated = 0
    for noun in mentioned:
        if noun in tables.safe:
            continue
        known = next((index for word, index in there if word == noun), None)
        if known is not None:
            covered.add(known)
            continue
        conjured.update([index for word, index in often if word == noun][:1])
        conjured.update([index for word, index in often if similar(noun, word)][:1])
        alike = next((index for word, index in there if similar(noun, word)), None)
        if alike is not None:
            covered.add(alike)
        hallucinated += alike is None
    return {
        "mentions": float(len(mentioned)),
        "hallucinated": float(hallucinated),
        "covered": float(len(covered)),
        "objects": float(len(truth)),
        "conjured": float(len(conjured)),
        "imagined": float(len(imagined)),
        "clean": float(not hallucinated),
        "n": 1.0,
    }


def parse(answer: str) -> str:
    """``yes``, ``no`` or ``other``: only the exact strings are read."""
    return {"Yes": "yes", "No": "no"}.get(answer, "other")
