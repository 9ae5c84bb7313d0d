"""The points of a plan's leads, as far as a ledger has them (`mmpref.study.leads`)."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.run.results import LEVEL, Key
from mmpref.study.effects import Effect, Effects
from mmpref.study.leads import Lead
from mmpref.study.plan_types import Plan


@dataclass(frozen=True)
class Place:
    """Where a world is on the axis.

    Args:
        value: as the plan says, or as it was measured of the base.
        low, high: of a measured one its 95 % interval, over what the base's own values are over; else the value.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LeadPoint:
    """A world of a curve.

    Args:
        place: None where it is the base's to say, and the base was not measured.
        effect: None where one of the two rows was not measured.
    """

    world: str
    place: Place | None
    effect: Effect | None

    @property
    def is_known(self) -> bool:
        return self.place is not None and self.effect is not None


@dataclass(frozen=True)
class LeadCurve:
    """A lead with its points, in the plan's order of worlds."""

    lead: Lead
    points: tuple[LeadPoint, ...]

    @property
    def known(self) -> list[LeadPoint]:
        """By place."""
        return sorted((point for point in self.points if point.is_known), key=lambda point: point.place.value)  # type: ignore[union-attr]

    @property
    def missing(self) -> list[str]:
        """Worlds that are still to be measured."""
        return [point.world for point in self.points if not point.is_known]


def lead_curves(plan: Plan, effects: Effects) -> tuple[LeadCurve, ...]:
    """Every lead of a plan, with the points that were measured."""
    return tuple(
        LeadCurve(lead, tuple(LeadPoint(world, *_point(plan, effects, lead, world)) for world in lead.places))
        for lead in plan.leads
    )


def _point(plan: Plan, effects: Effects, lead: Lead, world: str) -> tuple[Place | None, Effect | None]:
    row, against = (plan.in_world(name, world) for name in (lead.row, lead.against))
    found = effects.difference(row.name, against.name, lead.key, lead.split) if row and against else None
    effect = found if found and found.value == found.value else None
    if not lead.share:
        value = float(lead.at[world])
        return Place(value, value, value), effect
    return _share(plan, effects, lead, world), effect


def _share(plan: Plan, effects: Effects, lead: Lead, world: str) -> Place | None:
    """The quotient of two of the base's metrics: both are resampled by the same draws, so that it is too."""
    import numpy as np

    base = next((row for row in plan.rows.values() if row.data is None and row.world == world), None)
    part, whole = (effects.value(base.name, Key.of(metric), lead.split) if base else None for metric in lead.share)
    if not part or not whole or not whole.value > 0:
        return None
    value, drawn = part.value / whole.value, (part.estimate.resampled, whole.estimate.resampled)
    if len(drawn[0]) != len(drawn[1]) or not len(drawn[0]) or not (drawn[1] > 0).all():
        return Place(value, value, value)
    low, high = np.quantile(drawn[0] / drawn[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Place(value, float(low), float(high))
