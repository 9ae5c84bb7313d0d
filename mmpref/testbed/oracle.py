"""Judging text by the truth: what is mentioned and claimed, and which of it the scene does not bear out."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmpref.testbed.language import NUMBERS, WHERE, a
from mmpref.testbed.render import CELL, SIDE, backdrop, pixels
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.world import COLUMNS, REPAINTED, ROWS, SIDES, Scene, scene


def one_of(words: tuple[str, ...]) -> str:
    """A pattern for any of some words, of which the longest fits first: a "hot dog" is no "dog"."""
    return f"(?:{'|'.join(sorted(map(re.escape, words), key=len, reverse=True))})"


_NAME, _WHERE = one_of(THINGS), one_of(tuple(WHERE.values()))
_A_NAME, _A_KIND = one_of(tuple(map(a, THINGS))), one_of(tuple(map(a, KINDS)))
_MENTION = re.compile(rf"\b(no )?({_NAME})(?:e?s)?\b", re.I)
_ROW_FORM = re.compile(rf"({_WHERE}) (?:there is|you see|is) ({_A_NAME})(?: and|, next to) ({_A_NAME})", re.I)
_PLACE = re.compile(rf"This is ({_A_KIND})", re.I)
_SIDE, _SURE = one_of(SIDES), "(?:(?:Yes|No), )?"
_ANSWER = re.compile(rf"{_SURE}(?:the ({_NAME})|({_A_NAME})) is (?:on the ({_SIDE}) )?({_WHERE})", re.I)
_EXISTS = re.compile(rf"{_SURE}there is (?:({_A_NAME})|no ({_NAME})) in the image", re.I)
_COUNT = re.compile(rf"There are ({one_of(NUMBERS)}) things (?:({_WHERE})|in the image)", re.I)
_ROW_OF = {where: row for row, where in WHERE.items()}


@dataclass(frozen=True)
class Claim:
    """One statement about a scene.

    Args:
        what: the name of a thing, a kind of place, or a number of things.
        row, side: where; None where the statement does not say.
        there: false where a thing is said not to be there.
    """

    what: str
    row: str | None = None
    side: str | None = None
    there: bool = True

    def holds(self, truth: Scene) -> bool:
        """Whether the scene bears it out."""
        if self.what in KINDS:
            return truth.kind == self.what
        if self.what in NUMBERS:
            return len(truth.in_row(self.row) if self.row else truth.things) == NUMBERS.index(self.what)
        found = any(
            thing.name == self.what and self.row in (None, thing.row) and self.side in (None, thing.side)
            for thing in truth.things
        )
        return found == self.there


@dataclass(frozen=True)
class Verdict:
    """What a text says. ``mentioned`` and its parts keep repeats, as CHAIR counts them.

    Args:
        mentioned: things; not those that are said not to be there.
        hallucinated: of these, those that the scene does not hold.
        typical: of these, those that are usual at its kind of place.
        missed: things of the scene that are not mentioned.
        claims: whole statements: a thing and its row, the kind of place, a number.
        false_claims: of these, those of which anything is wrong.
    """

    mentioned: tuple[str, ...]
    hallucinated: tuple[str, ...]
    typical: tuple[str, ...]
    missed: tuple[str, ...]
    claims: tuple[Claim, ...]
    false_claims: tuple[Claim, ...]


def mentions(text: str) -> tuple[str, ...]:
    """The things that a text mentions, repeats kept; two words that are one name count as that name alone."""
    return tuple(match[2].lower() for match in _MENTION.finditer(text) if not match[1])


def claims(text: str) -> tuple[Claim, ...]:
    """The statements of a text's well-formed sentences, in order."""
    return tuple(claim for sentence in text.split(".") for claim in _claimed(sentence.strip()))


def _claimed(sentence: str) -> list[Claim]:
    if row := _row_said(sentence):
        return row
    if place := _PLACE.fullmatch(sentence):
        return [Claim(_bare(place[1]))]
    if answer := _ANSWER.fullmatch(sentence):
        side = answer[3].lower() if answer[3] else None
        return [Claim(_bare(answer[1] or answer[2]), _ROW_OF[answer[4].lower()], side)]
    if exists := _EXISTS.fullmatch(sentence):
        return [Claim(_bare(exists[1] or exists[2]), there=bool(exists[1]))]
    if count := _COUNT.fullmatch(sentence):
        return [Claim(count[1].lower(), _ROW_OF[count[2].lower()] if count[2] else None)]
    return []


def _row_said(sentence: str) -> list[Claim]:
    match = _ROW_FORM.fullmatch(sentence)
    return [Claim(_bare(name), _ROW_OF[match[1].lower()]) for name in match.groups()[1:]] if match else []


def _bare(name: str) -> str:
    """The name without its article."""
    return re.sub(r"^an? ", "", name.lower())


def judge(text: str, truth: Scene) -> Verdict:
    """Judge a text by the scene it is about."""
    mentioned, said = mentions(text), claims(text)
    hallucinated = tuple(name for name in mentioned if name not in truth.names)
    return Verdict(
        mentioned=mentioned,
        hallucinated=hallucinated,
        typical=tuple(name for name in hallucinated if name in KINDS.get(truth.kind, ())),
        missed=tuple(name for name in truth.names if name not in mentioned),
        claims=said,
        false_claims=tuple(claim for claim in said if not claim.holds(truth)),
    )


def is_caption(text: str) -> bool:
    """Tell whether a text is a well-formed caption, whatever it claims.

    That is one to three sentences about rows, with the kind of place before or behind them or not at all.
    """
    *sentences, rest = (sentence.strip() for sentence in text.split("."))
    places = [bool(_PLACE.fullmatch(sentence)) for sentence in sentences]
    if any(places[1:-1]) or sum(places) > 1 or rest:
        return False
    rows = [sentence for sentence, place in zip(sentences, places, strict=True) if not place]
    return 1 <= len(rows) <= len(ROWS) and all(map(_row_said, rows))


def boxes(truth: Scene) -> dict[str, list[tuple[float, float, float, float]]]:
    """Where each thing of a scene stands: its cell as left, top, right and bottom, in shares of the image's sides."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for thing, column in zip(truth.things, truth.columns, strict=True):
        left, top = column / COLUMNS, ROWS.index(thing.row) / len(ROWS)
        found.setdefault(thing.name, []).append((left, top, left + 1 / COLUMNS, top + 1 / len(ROWS)))
    return found


def scene_of(name: str) -> Scene:
    """Return the scene whose ``id`` (``<split>-<index>``) is ``name``.

    Raises:
        ValueError: the name is no scene's.
    """
    split, _, index = name.rpartition("-")
    try:
        return scene(split, int(index))
    except ValueError as error:
        raise ValueError(f"{name!r} names no scene; scenes are called like test-00012") from error


def find(picture: Image.Image, split: str, scenes: int) -> Scene | None:
    """Find the scene of a picture among the first ``scenes`` of a split by its pixels; None if it is none of them."""
    array = np.asarray(picture.convert("RGB"))
    if array.shape != (SIDE, SIDE, 3):
        return None
    known, digest = _known(split, scenes), hashlib.sha256(array.tobytes()).hexdigest()
    if digest not in known:
        alike = (scene(split, int(index)) for index in _alike(array, split, scenes))
        known[digest] = next((truth for truth in alike if np.array_equal(pixels(truth), array)), None)
    return known[digest]


@functools.cache
def _known(split: str, scenes: int) -> dict[str, Scene | None]:
    return {}


_ALIKE = 12.0
"""How far, in grey levels, empty cells may differ in how much lighter they are than the empty place."""


def _alike(array: np.ndarray, split: str, scenes: int) -> np.ndarray:
    """The few scenes that may show a picture: those whose empty cells are as empty in it. Drawing takes far longer."""
    kinds, empty = _layouts(split, scenes)
    lighter = _cell_means(array)[None] - _places(split == REPAINTED)[kinds]
    most = np.where(empty[..., None], lighter, -np.inf).max(axis=(1, 2))
    least = np.where(empty[..., None], lighter, np.inf).min(axis=(1, 2))
    return np.flatnonzero(most - least < _ALIKE)


@functools.cache
def _layouts(split: str, scenes: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each scene the number of its kind, and which of its nine cells are empty."""
    truths = [scene(split, index) for index in range(scenes)]
    empty = np.ones((scenes, len(ROWS) * COLUMNS), bool)
    for number, truth in enumerate(truths):
        for thing, column in zip(truth.things, truth.columns, strict=True):
            empty[number, ROWS.index(thing.row) * COLUMNS + column] = False
    return np.array([list(KINDS).index(truth.kind) for truth in truths], int), empty


@functools.cache
def _places(repainted: bool) -> np.ndarray:
    return np.stack([_cell_means(np.clip(backdrop(kind, repainted), 0, 255)) for kind in KINDS])


def _cell_means(array: np.ndarray) -> np.ndarray:
    """The mean colours of an image's nine cells: float array of shape (9, 3)."""
    cells = array.reshape(len(ROWS), CELL, COLUMNS, CELL, 3).astype(np.float32)
    return cells.mean(axis=(1, 3)).reshape(-1, 3)
