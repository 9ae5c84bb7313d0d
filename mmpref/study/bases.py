"""The models that the rows of a study start from, and the worlds that they may be of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmpref.recipes.resolve import merge


class Start(NamedTuple):
    """The base that a run starts from: its seed, and its world's name (empty where the plan has none)."""

    seed: int
    world: str = ""


@dataclass(frozen=True)
class World:
    """What differs for the bases of one of several worlds, and for the rows that start from them.

    Args:
        options: more arguments of ``trained_by``, over those of all bases.
        data: settings over every part of ``data`` that is built there, such as the split of another source.
        evaluate: by the name of an evaluation, settings over it.
    """

    options: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bases:
    """The models that rows start from.

    Args:
        seeds: of the bases; 0 is the recipe's own model, unless there are options.
        trained_by: ``module:function`` that trains the base of a seed into a folder, called as
            ``function(seed=..., output=..., **options)``.
        options: more arguments of it: a base of another size, or of another world.
        worlds: by name, where rows differ in that: each row names its ``world``.
        hours: that the training of one takes, for the preview; None where it is not known.
    """

    seeds: tuple[int, ...] = (0,)
    trained_by: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    worlds: dict[str, World] = field(default_factory=dict)
    hours: float | None = None

    def of(self, world: str) -> World:
        """What differs in a world; nothing in that without a name."""
        return self.worlds.get(world, World())

    def options_of(self, world: str) -> dict[str, Any]:
        """Arguments of ``trained_by`` beside ``seed`` and ``output``."""
        return merge(self.options, self.of(world).options)

    def is_own(self, start: Start) -> bool:
        """Whether a base is the recipe's own model."""
        return start.seed == 0 and not self.options_of(start.world)

    def starts(self) -> list[Start]:
        """Every base there is."""
        return [Start(seed, world) for world in self.worlds or ("",) for seed in self.seeds]
