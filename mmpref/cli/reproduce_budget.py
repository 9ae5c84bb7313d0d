"""What a study takes, on the screen: hours, accelerators, downloads, files and endpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli.format import print_table

if TYPE_CHECKING:
    from mmpref.study.budget import Cost
    from mmpref.study.requirements import Requirement

_KINDS = {
    "model": "Downloads of models",
    "dataset": "Downloads of data",
    "file": "Files that must be there, from the folder that the study is started in",
    "endpoint": "Endpoints, whose key is MMPREF_API_KEY",
}


def print_budget(costs: Sequence[Cost]) -> None:
    """Nothing where the study works on what ships with the package."""
    from mmpref.study.estimate import FORMULA

    wants = _wants(costs)
    if not wants:
        return
    click.echo()
    lines = [[cost.row, cost.work, str(cost.times), _hours(cost.hours), str(cost.accelerators or "")] for cost in costs]
    known = [cost.hours for cost in costs if not math.isnan(cost.hours)]
    print_table("What it takes", ["row", "work", "times", "hours", "GPUs"], lines)
    click.echo(
        f"\n{_hours(sum(known))} hours of one accelerator in all; {_most(costs)} hold the largest models at a time."
    )
    click.echo(FORMULA)
    for kind, title in _KINDS.items():
        if found := [want for want in wants if want.kind == kind]:
            click.echo(f"\n{title}:")
            for want in found:
                size = "" if want.gigabytes is None else f" ({want.gigabytes:g} GB)"
                click.echo(f"  {want.name}{size}")


def budget_as_dict(costs: Sequence[Cost]) -> dict[str, Any]:
    """JSON-ready."""
    from mmpref.study.estimate import FORMULA

    return {
        "costs": [
            {
                "row": cost.row,
                "work": cost.work,
                "times": cost.times,
                "hours": None if math.isnan(cost.hours) else round(cost.hours, 3),
                "accelerators": cost.accelerators,
            }
            for cost in costs
        ],
        "estimate": FORMULA,
        "wants": [{"kind": want.kind, "name": want.name, "gigabytes": want.gigabytes} for want in _wants(costs)],
    }


def _wants(costs: Sequence[Cost]) -> list[Requirement]:
    return sorted({want for cost in costs for want in cost.wants})


def _most(costs: Sequence[Cost]) -> str:
    return str(max((cost.accelerators for cost in costs), default=0))


def _hours(hours: float) -> str:
    if math.isnan(hours):
        return "–"
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2f}" if hours >= 0.005 or not hours else "< 0.01"
