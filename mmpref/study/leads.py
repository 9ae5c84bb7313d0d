"""How far a row is ahead of another, against what differs between the worlds that bases are of.

In a plan's YAML::

    bases: {seeds: [0], trained_by: ..., worlds: {first: {options: {kind_first: 1}}, last: {options: {kind_first: 0}}}}
    rows:
      base: {each: {world: [last, first]}}
      bdhs: {data: bdhs, train: dpo, each: {world: [last, first]}}
      mismatched: {data: mismatched, train: dpo, each: {world: [last, first]}}
    leads:
      - title: Where the bias comes from
        axis: share of captions that name the kind of place first
        row: bdhs
        against: mismatched
        metric: chair chair_i
        split: test
        at: {last: 0, first: 1}
      - title: How much of the hallucination is the bias's
        ...
        share: [chair chair_i_typical, chair chair_i]     # the place is the base's first by its second
        worlds: [last, first]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpref.errors import UsageError
from mmpref.registry import suggest
from mmpref.run.results import Key


@dataclass(frozen=True)
class Lead:
    """A curve over worlds: in each the row less the other, which both start from that world's bases.

    Args:
        title, axis: for readers; the axis is what worlds differ in.
        row, against: rows or families of rows.
        metric: ``benchmark metric``, or ``benchmark metric part``.
        split: name of an evaluation.
        at: by world, its place on the axis.
        share: in place of ``at``, two metrics of the world's base, whose quotient is the place.
        worlds: that the curve has, with ``share``.
    """

    title: str
    axis: str
    row: str
    against: str
    metric: str
    split: str
    at: dict[str, float] = field(default_factory=dict)
    share: tuple[str, ...] = ()
    worlds: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The worlds of the curve."""
        return self.worlds if self.share else tuple(self.at)

    @property
    def key(self) -> Key:
        return Key.of(self.metric)

    def check(self, worlds: Sequence[str], splits: Sequence[str], where: str) -> None:
        """See that it speaks of what the plan has.

        Args:
            worlds, splits: of the plan.
            where: the plan, for messages.

        Raises:
            UsageError: it does not, or it says its places in no way or in two.
        """
        where = f"{where}: the lead {self.title!r}"
        if bool(self.at) == bool(self.share) or len(self.share) not in (0, 2) or not self.places:
            raise UsageError(f"{where} needs either at, or worlds with a share of two metrics.")
        if any(len(metric.split()) not in (2, 3) for metric in (self.metric, *self.share)):
            raise UsageError(f"{where} has a metric that is none.", "Write 'benchmark metric', such as chair recall.")
        if self.split not in splits:
            raise UsageError(f"{where} names the evaluation {self.split!r}.", suggest(self.split, list(splits)))
        for world in self.places:
            if world not in worlds:
                raise UsageError(f"{where} names the world {world!r}.", suggest(world, list(worlds)))
