"""The names in a plan: each is one, of what it is used for, and nothing is made of itself."""

from __future__ import annotations

import graphlib
from collections.abc import Collection

from mmpref.errors import UsageError
from mmpref.registry import suggest
from mmpref.study.claims import names_in
from mmpref.study.plan_file import dotted
from mmpref.study.plan_types import Plan, Row
from mmpref.study.references import references

Part = tuple[str, str]
"""What kind of thing of a plan (``data``, ``train``, ``row`` or ``evaluate``), and its name."""


def check_names(plan: Plan) -> None:
    """See that a plan can be run as it is written.

    Raises:
        UsageError: a name that is none, or that cannot stand where it does; parts that are made of themselves.
    """
    needs: dict[Part, set[Part]] = {}
    for kind, parts in (("data", plan.data), ("train", plan.train)):
        for name, values in parts.items():
            needs[kind, name] = set(references(values))
            for reference in needs[kind, name]:
                _check(plan, *reference, where=f"{kind}.{name}")
    for row in plan.rows.values():
        needs["row", row.name] = _check_row(plan, row)
        _check_grid(plan, row)
        if plan.columns:
            _check_figures(plan, row)
    _check_metrics(plan)
    _check_leads(plan)
    _check_claims(plan)
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        circle = " needs ".join(name for _, name in reversed(error.args[1]))
        raise UsageError(f"{plan.path}: {circle}: a part cannot be made of itself.") from error


def _check(plan: Plan, kind: str, name: str, where: str) -> None:
    parts: dict[str, Collection[str]] = {
        "data": plan.data,
        "train": plan.train,
        "row": plan.rows,
        "evaluate": plan.evaluate,
    }
    if name not in parts[kind]:
        what = {"row": "row", "evaluate": "evaluation"}.get(kind, f"part of {kind}")
        raise UsageError(f"{plan.path}: {where} names the {what} {name!r}.", suggest(name, list(parts[kind])))


def _check_row(plan: Plan, row: Row) -> set[Part]:
    """The parts that it is made of."""
    where = f"row {row.name!r}"
    found = set(references(row.set))
    for kind, part in (("data", row.data), ("train", row.train)):
        if part is not None:
            _check(plan, kind, part, where)
            found.add((kind, part))
    for kind, name in references([row.set, plan.train.get(row.train or "", {})]):
        _check(plan, kind, name, where)
        if kind == "row" and plan.rows[name].world != row.world:
            raise UsageError(f"{plan.path}: {where} takes the adapter of {name!r}, which is of another world.")
    for split in (*row.evaluate, *([row.grid.split] if row.grid else [])):
        _check(plan, "evaluate", split, where)
    return found


def _check_grid(plan: Plan, row: Row) -> None:
    where = f"row {row.name!r}"
    base = plan.base_of(row.name)
    if row.grid and row.grid.keep and (base is None or row.grid.base not in base.bases):
        raise UsageError(
            f"{plan.path}: the grid of {where} compares with the base, which is in no row.", "Add a row: base: {}"
        )
    if row.grid_like is not None:
        _check(plan, "row", row.grid_like, where)
        if plan.rows[row.grid_like].grid is None:
            raise UsageError(f"{plan.path}: {where} takes the choice of {row.grid_like!r}, which makes none.")
    grid = plan.rows[row.grid_like or row.name].grid
    if grid and (both := sorted(set(dotted(row.set)) & set(grid.search))):
        raise UsageError(
            f"{plan.path}: {where} sets {both[0]}, which a grid chooses for it.", "Take it out, or write grid: none."
        )


def _check_figures(plan: Plan, row: Row) -> None:
    if unknown := sorted(set(row.paper) - set(plan.columns)):
        raise UsageError(
            f"{plan.path}: row {row.name!r} has the paper's {unknown[0]}, which is no column.",
            suggest(unknown[0], list(plan.columns)),
        )


def _check_metrics(plan: Plan) -> None:
    for metric in (*plan.show, *(column.metric for column in plan.columns.values())):
        if len(metric.split()) < 2:
            raise UsageError(
                f"{plan.path}: {metric!r}, of show or columns, is no metric.",
                "Write 'benchmark metric', such as chair recall.",
            )
    for label, column in plan.columns.items():
        if column.split:
            _check(plan, "evaluate", column.split, f"columns.{label}")


def _check_leads(plan: Plan) -> None:
    for lead in plan.leads:
        lead.check(list(plan.bases.worlds), list(plan.evaluate), str(plan.path))
        for world, name in ((world, name) for world in lead.places for name in (lead.row, lead.against)):
            compared = plan.in_world(name, world)
            if compared is None or lead.split not in compared.evaluate:
                said = f"the lead {lead.title!r} is about {name!r} in the world {world!r} on {lead.split!r}"
                there = dict.fromkeys(row.family or row.name for row in plan.rows.values() if row.world == world)
                raise UsageError(f"{plan.path}: {said}, where there is none.", suggest(name, list(there)))


def _check_claims(plan: Plan) -> None:
    for kind, name, where in names_in(plan.claims, str(plan.path)):
        _check(plan, kind, name, where)
    for effect in (effect for claim in plan.claims for effect in claim.effects):
        for row in (plan.rows[name] for name in filter(None, (effect.row, effect.against))):
            if effect.split not in row.evaluate:
                said = f"a claim is about row {row.name!r} on {effect.split!r}, where it is not evaluated"
                raise UsageError(f"{plan.path}: {said}.", f"It is on: {', '.join(row.evaluate) or 'nothing'}.")
        if effect.against and plan.rows[effect.row].world != plan.rows[effect.against].world:
            raise UsageError(f"{plan.path}: a claim compares {effect.row!r} with {effect.against!r} of another world.")
