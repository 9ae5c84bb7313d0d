"""The runs of a plan: which rows are wanted, and in what order their runs come."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmpref.errors import UsageError
from mmpref.registry import suggest
from mmpref.study.plan_types import Plan


@dataclass(frozen=True)
class Target:
    """One run of a row that is to be measured."""

    row: str
    base: int
    seed: int


def select(plan: Plan, only: Sequence[str]) -> list[str]:
    """Rows by name or pattern (``bdhs*``), in the plan's order; all of no pattern.

    Raises:
        UsageError: a pattern that is no row's.
    """
    for pattern in only:
        if not fnmatch.filter(plan.rows, pattern):
            raise UsageError(f"{plan.path} has no row {pattern!r}.", suggest(pattern, list(plan.rows)))
    return [name for name in plan.rows if not only or any(fnmatch.fnmatchcase(name, pattern) for pattern in only)]


def targets(plan: Plan, rows: Iterable[str]) -> list[Target]:
    """Every run of some rows: all of them on the first base with the first seed, then other bases, then more seeds;
    of several worlds one after the other."""
    worlds = list(plan.bases.worlds or ("",))
    runs = [
        Target(name, base, seed)
        for name in rows
        for base in plan.rows[name].bases
        for seed in range(plan.rows[name].seeds)
    ]

    def place(run: Target) -> tuple[int, int, int]:
        return run.seed, plan.bases.seeds.index(run.base), worlds.index(plan.rows[run.row].world)

    return sorted(runs, key=place)
