"""Everyday scenes with known truth: a kind of place, and four or six things in it.

A place has ten things that are usual there. In scenes of the biased world (splits ``train`` and ``usual``) a thing is
one of these most of the time, else a look-alike of it; in scenes of the even world (``dev``, ``test``, ``balanced``)
each of the look-alikes is as likely, so that what is usual misleads; in those of ``unusual`` a usual thing is never
there; in ``plain`` ones anything is anywhere. Some things are seen badly. The checkpoint learned to see from scenes
full of anything and to read from plain ones; then it saw captions of ``train`` and a few plain ones, and was asked
questions about these and ``balanced``, as question sets are balanced where captions are not. Every scene is a function
of its split and index: nothing is stored.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass

import numpy as np

from mmpref.testbed.things import FAMILIES, FAMILY_OF, KINDS, THINGS, lookalikes

ROWS = ("back", "middle", "front")
SIDES = ("left", "right")
COLUMNS = 3

USUAL_RATE = 0.85
THREE_ROWS_RATE = 0.5
UNCLEAR_RATE = 0.125
UNCLEAR_IN_TRAINING = {"train": 0.4, "balanced": 0.2, "plain": 0.2}
"""Pictures of the splits that the checkpoint learned from are worse: that teaches it to trust in what is usual."""
CLARITY = (0.05, 0.3)
"""Of a thing that is seen badly: how far it stands out, from the mean of its look-alikes (0) to itself (1)."""

BIASED_SPLITS = ("train", "usual")
EVEN_SPLITS = ("dev", "test", "balanced")
SPLITS = (*BIASED_SPLITS, *EVEN_SPLITS, "unusual", "plain")
_WORLD_SEED = 240702477


@dataclass(frozen=True)
class Thing:
    """Something in a scene: its name, the row and the side of the row that it is in."""

    name: str
    row: str
    side: str


@dataclass(frozen=True)
class Scene:
    """The truth about one image.

    Args:
        things: row by row from the back, left before right.
        columns: of each thing, 0 to 2.
        clarity: of each thing, 1 where it is seen well.
    """

    split: str
    index: int
    kind: str
    things: tuple[Thing, ...]
    columns: tuple[int, ...]
    clarity: tuple[float, ...]

    @property
    def id(self) -> str:
        """``<split>-<index>``, the name of the image in every table."""
        return f"{self.split}-{self.index:05d}"

    @property
    def names(self) -> tuple[str, ...]:
        """What is in the image, each once, in the order of ``things``."""
        return tuple(thing.name for thing in self.things)

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that hold things."""
        return tuple(row for row in ROWS if any(thing.row == row for thing in self.things))

    def in_row(self, row: str) -> tuple[Thing, ...]:
        """The things of a row, left before right."""
        return tuple(thing for thing in self.things if thing.row == row)


def stream(split: str, index: int, purpose: int) -> np.random.Generator:
    """Return the random stream of one purpose (0 truth, 1 pixels, 2 language, 3 questions) of one scene."""
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
    kind = tuple(KINDS)[rng.integers(len(KINDS))]
    count = 3 if rng.random() < THREE_ROWS_RATE else 2
    rows = sorted(rng.permutation(len(ROWS))[:count])
    names: list[str] = []
    if split == "plain":
        names = [THINGS[k] for k in rng.permutation(len(THINGS))[: 2 * count]]
    for place in () if split == "plain" else rng.permutation(len(KINDS[kind]))[: 2 * count]:
        names.append(_realised(KINDS[kind][place], kind, split, names, rng))
    columns = [int(column) for _ in rows for column in sorted(rng.permutation(COLUMNS)[:2])]
    unclear = UNCLEAR_IN_TRAINING.get(split, UNCLEAR_RATE)
    clarity = [float(np.round(rng.uniform(*CLARITY), 3)) if rng.random() < unclear else 1.0 for _ in names]
    things = tuple(Thing(name, ROWS[rows[k // 2]], SIDES[k % 2]) for k, name in enumerate(names))
    return Scene(split, index, kind, things, tuple(columns), tuple(clarity))


def _realised(usual: str, kind: str, split: str, taken: list[str], rng: np.random.Generator) -> str:
    """What stands where a usual thing would: itself or a look-alike of it, none of those that are there already."""
    others = [name for name in lookalikes(usual, kind) if name not in taken]
    if split in BIASED_SPLITS:
        return usual if rng.random() < USUAL_RATE else others[rng.integers(len(others))]
    pool = [usual, *others] if split in EVEN_SPLITS else others
    return pool[rng.integers(len(pool))]


def absent(scene: Scene) -> list[str]:
    """Everything that a scene does not hold, in the order of ``THINGS``."""
    return [name for name in THINGS if name not in scene.names]


def tempting(scene: Scene) -> list[str]:
    """What is usual at the place of a scene and not there."""
    return [name for name in KINDS[scene.kind] if name not in scene.names]


@functools.cache
def statistics(scenes: int = 2000) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Count things, and ordered pairs of things that share an image, over the first scenes of ``train``."""
    single: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for index in range(scenes):
        names = scene("train", index).names
        single.update(names)
        pairs.update((a, b) for a in names for b in names if a != b)
    return single, pairs


def members(name: str) -> tuple[str, ...]:
    """A thing and its look-alikes."""
    return tuple(FAMILIES[FAMILY_OF[name]])
