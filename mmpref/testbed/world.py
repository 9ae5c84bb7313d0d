"""Everyday scenes with known truth: a kind of place, and four or six things in it.

A place has ten things that are usual there. In scenes of the biased world (splits ``train`` and ``usual``) a thing is
one of these most of the time, else a look-alike of it; in scenes of the even world (``dev``, ``test``, ``balanced``)
each of the look-alikes is as likely, so that what is usual misleads, and so in ``even``, which is seen as badly as
``train``; in those of ``unusual`` a usual thing is never there; in ``plain`` ones anything is anywhere. Two splits are
of a world that the checkpoint did not learn from: in ``repainted`` scenes, else like those of ``test``, the places look
otherwise than any that it has seen; in ``foreign`` ones all that is there stands where no scene but plain ones has it
(`things.held_out`), nor, where a model was trained so (`familiar`), any scene that it has seen. A split with a number
behind it (``test-3``) is of a smaller world, whose families of look-alikes have so many members. Some things are seen
badly. The checkpoint learned to see from scenes full of anything and to read from plain ones; then it saw captions of
``train`` and a few plain ones, and was asked questions about these and ``balanced``, as question sets are balanced
where captions are not. Every scene is a function of its split and index: nothing is stored.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from mmpref.testbed.things import KINDS, family, held_out, kept, lookalikes, usual

ROWS = ("back", "middle", "front")
SIDES = ("left", "right")
COLUMNS = 3

USUAL_RATE = 0.85
THREE_ROWS_RATE = 0.5
UNCLEAR_RATE = 0.125
UNCLEAR_RATES = {"train": 0.4, "balanced": 0.2, "plain": 0.2, "even": 0.4}
"""Pictures of the splits that the checkpoint learned from are worse: that teaches it to trust in what is usual. So are
those of ``even``, where pairs are made: what is usual misleads there, and nothing else differs."""
CLARITY = (0.05, 0.3)
"""Of a thing that is seen badly: how far it stands out, from the mean of its look-alikes (0) to itself (1)."""

BIASED_SPLITS = ("train", "usual")
EVEN_SPLITS = ("dev", "test", "balanced", "even")
REPAINTED, FOREIGN = "repainted", "foreign"
SPLITS = (*BIASED_SPLITS, "dev", "test", "balanced", "unusual", "plain", REPAINTED, FOREIGN, "even")
"""A split's place among them seeds its scenes: new ones come last."""
MEMBERS = (3, 6)
"""Of families in the smaller worlds, which have 42 and 84 things."""
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
    def members(self) -> int | None:
        """How many look-alikes the families of its world have; None in the full one."""
        return world_of(self.split)[1]

    @property
    def usual(self) -> tuple[str, ...]:
        """The ten things that are usual at its kind of place, there or not."""
        return usual(self.kind, self.members)

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


def in_world(split: str, members: int | None) -> str:
    """The split's name in a world whose families have so many members."""
    return split if members is None else f"{split}-{members}"


@functools.cache
def world_of(split: str) -> tuple[str, int | None]:
    """A split's name in the full world, and how many members the families of its own have; None in the full one.

    Raises:
        ValueError: it is no split of any.
    """
    name, _, members = split.partition("-")
    sizes = () if name in (REPAINTED, FOREIGN) else MEMBERS
    if name not in SPLITS or split not in (name, *(in_world(name, number) for number in sizes)):
        raise ValueError(f"no split is called {split!r}; splits are {', '.join(SPLITS)}")
    return name, int(members) if members else None


def stream(split: str, index: int, purpose: int) -> np.random.Generator:
    """Return the random stream of one purpose (0 truth, 1 pixels, 2 language, 3 questions, 4 clarity) of a scene."""
    return np.random.default_rng([_WORLD_SEED, SPLITS.index(world_of(split)[0]), index, purpose])


@functools.lru_cache(maxsize=65536)
def scene(split: str, index: int) -> Scene:
    """Return the scene number ``index`` of ``split``; the same on every call.

    Raises:
        ValueError: the split is none of ``SPLITS``, or the index is negative.
    """
    name, members = world_of(split)
    if index < 0:
        raise ValueError(f"no scene {index} in split {split!r}")
    rng = stream(split, index, 0)
    kind = tuple(KINDS)[rng.integers(len(KINDS))]
    count = 3 if rng.random() < THREE_ROWS_RATE else 2
    rows = sorted(rng.permutation(len(ROWS))[:count])
    names: list[str] = []
    if name == "plain":
        names = [kept(members)[k] for k in rng.permutation(len(kept(members)))[: 2 * count]]
    elif name == FOREIGN:
        names = [held_out(kind)[k] for k in rng.permutation(len(held_out(kind)))[: 2 * count]]
    expected = usual(kind, members)
    for place in () if names else rng.permutation(len(expected))[: 2 * count]:
        names.append(_realised(expected[place], kind, split, names, rng))
    columns = [int(column) for _ in rows for column in sorted(rng.permutation(COLUMNS)[:2])]
    clarity = _clarity(len(names), UNCLEAR_RATES.get(name, UNCLEAR_RATE), rng)
    things = tuple(Thing(name, ROWS[rows[k // 2]], SIDES[k % 2]) for k, name in enumerate(names))
    return Scene(split, index, kind, things, tuple(columns), clarity)


def with_unclear(truth: Scene, rate: float) -> Scene:
    """The scene with another share of its things seen badly."""
    return replace(truth, clarity=_clarity(len(truth.things), rate, stream(truth.split, truth.index, 4)))


def familiar(truth: Scene) -> Scene:
    """The scene with the next of all things that may be there in the place of each that is held out of its kind of
    place. Scenes that captions are about stay as they are."""
    things, apart = kept(truth.members), held_out(truth.kind, truth.members)
    taken = {*truth.names} - {*apart}
    placed = []
    for thing in truth.things:
        if thing.name in apart:
            at = things.index(thing.name)
            name = next(other for other in (*things[at:], *things[:at]) if other not in taken and other not in apart)
            thing = replace(thing, name=name)
            taken.add(name)
        placed.append(thing)
    return replace(truth, things=tuple(placed))


def _clarity(things: int, unclear: float, rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(float(np.round(rng.uniform(*CLARITY), 3)) if rng.random() < unclear else 1.0 for _ in range(things))


def _realised(expected: str, kind: str, split: str, taken: list[str], rng: np.random.Generator) -> str:
    """What stands where a usual thing would: itself or a look-alike of it, none of those that are there already."""
    name, members = world_of(split)
    others = [other for other in lookalikes(expected, kind, members) if other not in taken]
    if name in BIASED_SPLITS:
        return expected if rng.random() < USUAL_RATE else others[rng.integers(len(others))]
    pool = [expected, *others] if name in (*EVEN_SPLITS, REPAINTED) else others
    return pool[rng.integers(len(pool))]


def absent(scene: Scene) -> list[str]:
    """Everything of its world that a scene does not hold, in the order of ``THINGS``."""
    return [name for name in kept(scene.members) if name not in scene.names]


def tempting(scene: Scene) -> list[str]:
    """What is usual at the place of a scene and not there."""
    return [name for name in scene.usual if name not in scene.names]


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
    return family(name)
