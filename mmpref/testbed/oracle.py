"""Judging text by the truth: what a caption claims, and which claims the scene does not bear out."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmpref.testbed.render import pixels
from mmpref.testbed.world import COLOURS, PLACES, SHAPES, SPLITS, Scene, Thing, scene

_CLAIM = re.compile(rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPES)})\s+is\s+in\s+the\s+({'|'.join(PLACES)})\b", re.I)
_SENTENCE = re.compile(rf"A {_CLAIM.pattern[2:-2]}")
_SHAPE = re.compile(rf"\b({'|'.join(SHAPES)})s?\b", re.I)


@dataclass(frozen=True)
class Verdict:
    """What a text mentions. ``mentioned`` and ``hallucinated`` keep repeats, as CHAIR counts them."""

    mentioned: tuple[str, ...]
    hallucinated: tuple[str, ...]
    missed: tuple[str, ...]
    false_claims: tuple[Thing, ...]
    """Whole claims (colour, shape and place) of which anything is wrong."""


def judge(text: str, truth: Scene) -> Verdict:
    """Judge a text by the scene it is about."""
    mentioned = tuple(match.lower() for match in _SHAPE.findall(text))
    claims = [Thing(*(part.lower() for part in match)) for match in _CLAIM.findall(text)]
    return Verdict(
        mentioned=mentioned,
        hallucinated=tuple(shape for shape in mentioned if shape not in truth.shapes),
        missed=tuple(shape for shape in truth.shapes if shape not in mentioned),
        false_claims=tuple(claim for claim in claims if claim not in truth.things),
    )


def is_caption(text: str) -> bool:
    """Tell whether a text is one to four well-formed sentences of a caption, whatever they claim."""
    *sentences, rest = text.split(".")
    whole = all(_SENTENCE.fullmatch(sentence.strip()) for sentence in sentences)
    return 1 <= len(sentences) <= 4 and not rest.strip() and whole


def scene_of(name: str) -> Scene:
    """Return the scene whose ``id`` (``<split>-<index>``) is ``name``.

    Raises:
        ValueError: the name is no scene's.
    """
    split, _, index = name.rpartition("-")
    if split not in SPLITS or not index.isdigit():
        raise ValueError(f"{name!r} names no scene; scenes are called like test-00012")
    return scene(split, int(index))


def find(picture: Image.Image, split: str, scenes: int) -> Scene | None:
    """Find the scene of a picture among the first ``scenes`` of a split by its pixels; None if it is none of them."""
    return _index(split, scenes).get(_digest(np.asarray(picture.convert("RGB"))))


@functools.cache
def _index(split: str, scenes: int) -> dict[str, Scene]:
    return {_digest(pixels(scene(split, index))): scene(split, index) for index in range(scenes)}


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
