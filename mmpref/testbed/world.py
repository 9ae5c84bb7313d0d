"""Scenes with known truth: what is in an image, drawn from a biased or an unbiased world.

A scene holds two or three things, each of its own shape, in a quadrant of its own. Scenes of the biased world
(splits ``pretrain`` and ``train``) have strong priors for a language model to lean on: shapes come in pairs,
have favourite colours, and are not equally frequent. Scenes of ``dev`` and ``test`` have none of these, so what the
prior alone says of them is mostly wrong. Those of ``balanced`` are like them: the checkpoint was asked questions
about them, as question sets are balanced where captions are not, but never saw a caption of one. Every scene is a
function of its split and index: nothing is stored.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "ring", "moon")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
PLACES = ("top left", "top right", "bottom left", "bottom right")

PARTNER = {a: b for x, y in zip(SHAPES[::2], SHAPES[1::2], strict=True) for a, b in ((x, y), (y, x))}
FAVOURITE = dict(zip(SHAPES, ("red", "blue", "green", "yellow", "purple", "white", "yellow", "white"), strict=True))
FREQUENCY = (0.20, 0.16, 0.16, 0.12, 0.12, 0.10, 0.08, 0.06)
PARTNER_RATE = 0.9
FAVOURITE_RATE = 0.75
THREE_RATE = 0.5
NOISE = (30.0, 145.0)
"""Standard deviation of the pixel noise, in grey levels of 0 to 255: drawn evenly from this range per scene."""

BIASED_SPLITS = ("pretrain", "train")
UNBIASED_SPLITS = ("dev", "test", "balanced")
SPLITS = BIASED_SPLITS + UNBIASED_SPLITS
_WORLD_SEED = 240702477


@dataclass(frozen=True)
class Thing:
    """One drawn object."""

    colour: str
    shape: str
    place: str


@dataclass(frozen=True)
class Scene:
    """The truth about one image. ``things`` are in reading order of their places."""

    split: str
    index: int
    things: tuple[Thing, ...]
    noise: float

    @property
    def id(self) -> str:
        """``<split>-<index>``, the name of the image in every table."""
        return f"{self.split}-{self.index:05d}"

    @property
    def shapes(self) -> tuple[str, ...]:
        """Shapes in the image, each once, in reading order."""
        return tuple(thing.shape for thing in self.things)


def stream(split: str, index: int, purpose: int) -> np.random.Generator:
    """Return the random stream of one purpose (0 truth, 1 pixels, 2 language) of one scene."""
    return np.random.default_rng([_WORLD_SEED, SPLITS.index(split), index, purpose])


@functools.lru_cache(maxsize=65536)
def scene(split: str, index: int) -> Scene:
    """Return the scene number ``index`` of ``split``; the same on every call.

    Raises:
        ValueError: the split is none of ``SPLITS``, or the index is negative.
    """
    if split not in SPLITS or index < 0:
        raise ValueError(f"no scene {index} in split {split!r}; splits are {', '.join(SPLITS)}")
    rng = stream(split, index, 0)
    biased = split in BIASED_SPLITS
    shapes = _shapes(rng, biased)
    colours = [
        FAVOURITE[shape] if biased and rng.random() < FAVOURITE_RATE else COLOURS[rng.integers(len(COLOURS))]
        for shape in shapes
    ]
    places = rng.permutation(len(PLACES))[: len(shapes)]
    order = np.argsort(places)
    things = tuple(Thing(colours[k], shapes[k], PLACES[places[k]]) for k in order)
    return Scene(split, index, things, float(np.round(rng.uniform(*NOISE), 2)))


def _shapes(rng: np.random.Generator, biased: bool) -> list[str]:
    count = 3 if rng.random() < THREE_RATE else 2
    if not biased:
        return [SHAPES[k] for k in rng.permutation(len(SHAPES))[:count]]
    chosen = [SHAPES[rng.choice(len(SHAPES), p=FREQUENCY)]]
    if rng.random() < PARTNER_RATE:
        chosen.append(PARTNER[chosen[0]])
    while len(chosen) < count:
        weights = np.array([0.0 if s in chosen else f for s, f in zip(SHAPES, FREQUENCY, strict=True)])
        chosen.append(SHAPES[rng.choice(len(SHAPES), p=weights / weights.sum())])
    return chosen


@functools.cache
def statistics(scenes: int = 2000) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Count shapes, and ordered pairs of shapes that share an image, over the first scenes of ``train``."""
    single: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for index in range(scenes):
        shapes = scene("train", index).shapes
        single.update(shapes)
        pairs.update((a, b) for a in shapes for b in shapes if a != b)
    return single, pairs
