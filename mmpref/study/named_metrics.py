"""The metrics that a plan names, and the evaluations that are to have them: a name that none has is a silent gap."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.run.results import Key
from mmpref.study.plan_types import Plan


@dataclass(frozen=True)
class Named:
    """A metric that a plan names.

    Args:
        by: what names it, for messages.
        key: without a judge, as plans have it.
        splits: names of evaluations, of which one must have it.
    """

    by: str
    key: Key
    splits: tuple[str, ...]


def named(plan: Plan) -> list[Named]:
    """What claims, leads, ``show`` and ``columns`` name; grids look for their own (`mmpref.study.choice`)."""
    anywhere = tuple(dict.fromkeys(split for row in plan.rows.values() for split in row.evaluate))
    metrics = [
        *(
            Named(f"claim {claim.id!r}", effect.key, (effect.split,))
            for claim in plan.claims
            for effect in claim.effects
        ),
        *(
            Named(f"the lead {lead.title!r}", Key.of(metric), (lead.split,))
            for lead in plan.leads
            for metric in (lead.metric, *lead.share)
        ),
        *(Named("show", Key.of(metric), anywhere) for metric in plan.show),
        *(
            Named(f"the column {label!r}", Key.of(column.metric), (column.split,) if column.split else anywhere)
            for label, column in plan.columns.items()
            if not column.fact
        ),
    ]
    return [one for one in metrics if one.splits]  # a plan of pairs alone may have columns of others all the same
