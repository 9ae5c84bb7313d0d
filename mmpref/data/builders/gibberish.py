"""Control: the reference answer's words in random order, or random words in their place; no information.

Every word gives way to another one, and what ends sentences or stands between words stays: a gibberish answer has as
many words, sentences and lines as the reference. Reasons for a skip: ``same-as-chosen``, where the words give no other
text (an answer of one word), and ``no-partner``, where random words are asked for and every example of the block has
the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import regex

from mmpref.data.builder import SAME, Builder, Context
from mmpref.data.builders._partners import no_partner, other_answers
from mmpref.rng import stream
from mmpref.sampling.sentences import sentences
from mmpref.tables.conversations import same_answer
from mmpref.types import Example, Pair, Skip
from mmpref.words import spaced, words

if TYPE_CHECKING:
    import numpy as np

TRIES = 16
"""Draws until the text is not the reference's: of two words every second order is."""
_MARKS = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])[^\p{L}\p{M}\p{N}]+$")
"""What stands behind the last letter or digit."""

Kind = Literal["shuffled", "random", "repeated"]


@dataclass(frozen=True)
class Settings:
    """Settings of gibberish.

    Args:
        words: ``shuffled`` takes the reference's own words in random order; ``random`` as many, drawn from all words of
            the block's other answers; ``repeated`` one of its own over and over.
    """

    words: Kind = "shuffled"


class Slot(NamedTuple):
    """The place of a word: the word, and what stays there: marks that end a sentence, and white space."""

    word: str
    marks: str
    space: str


def slots(text: str) -> list[Slot]:
    """The places of an answer's words (`mmpref.words.words`), white space around the answer left out."""
    places: list[Slot] = []
    for sentence in sentences(text.strip()):
        *before, last = spaced(sentence.body)
        places += [Slot(piece.rstrip(), "", piece[len(piece.rstrip()) :]) for piece in before]
        marks = match[0] if (match := _MARKS.search(last)) else ""
        places.append(Slot(last.removesuffix(marks), marks, sentence.trailing))
    return places


def refilled(places: Sequence[Slot], chosen: Sequence[str]) -> str:
    """A text of these words in those places, as many. Where two would become one word (Latin letters in the places of
    ideographs), a space is put between them."""
    text = before = ""
    for place, word in zip(places, chosen, strict=True):
        text += " " if before and len(words(before + word)) < 2 else ""
        text += word + place.marks + place.space
        before = "" if place.space else word + place.marks
    return text


def drawn(kind: Kind, own: Sequence[str], others: Sequence[str], rng: np.random.Generator) -> list[str]:
    """As many words as the answer's own.

    Args:
        own: the answer's words.
        others: those of other answers, which ``random`` draws from, the frequent ones more often.
    """
    if kind == "shuffled":
        return [own[place] for place in rng.permutation(len(own))]
    if kind == "repeated":
        return [own[int(rng.integers(len(own)))]] * len(own)
    return [others[place] for place in rng.integers(len(others), size=len(own))]


class _Worker:
    def __init__(self, context: Context, settings: Settings) -> None:
        self.seed, self.kind = context.seed, settings.words

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        places = {example.answer: slots(example.answer) for example in block}
        return [self._outcome(example, block, places) for example in block]

    def _outcome(self, example: Example, block: Sequence[Example], places: Mapping[str, Sequence[Slot]]) -> Pair | Skip:
        own, others = places[example.answer], list[str]()
        if self.kind == "random":
            others = [slot.word for answer in other_answers(example, block) for slot in places[answer]]
            if not others:
                return no_partner(example)
        rng = stream(self.seed, example.id, 1, "gibberish")
        for _ in range(TRIES):
            rejected = refilled(own, drawn(self.kind, [slot.word for slot in own], others, rng))
            if not same_answer(rejected, example.answer):
                return Pair(example, rejected, "gibberish", None, 1, self.seed)
        return Skip(example.id, SAME, f"{len(own)} words that give no other text")


BUILDER = Builder(config=lambda: Settings, worker=_Worker, uses_model=False)
