"""What a plan is when it is read: rows, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.study.bases import Bases
from mmpref.study.claims import Claim
from mmpref.study.grid import DEV, Grid
from mmpref.study.leads import Lead
from mmpref.study.paper_columns import Column
from mmpref.study.references import references


@dataclass(frozen=True)
class KlPrompts:
    """Where the KL from the base is measured: the first prompts of an evaluation's benchmark.

    Args:
        split: name of the evaluation.
        benchmark: by default its first.
        prompts: how many.
    """

    split: str = DEV
    benchmark: str | None = None
    prompts: int = 100


@dataclass(frozen=True)
class Row:
    """An arm of the study: data, a method, and how often it is run.

    Args:
        name: unique in the plan.
        data, train: names of parts; neither for the base itself, data alone for pairs that nobody trains on.
        limit: train on the first rows only.
        set: more settings over the train section, with dotted keys.
        seeds: how many alignment seeds, from 0.
        bases: seeds of bases.
        world: of the bases, where the plan has several.
        evaluate: names of evaluations; by default the plan's ``measure``, or all but the grid's.
        grid: how its settings are chosen; None where they are as they stand.
        grid_like: the row whose choice it takes over (``grid: like ROW``).
        paper: the paper's figures, by what the paper calls them.
        stands_in: what the row has in the place of what the paper has there; empty where it is the same.
        note: for readers.
        family, levels: the name of rows that differ in some settings only, and what this one has there.
    """

    name: str
    data: str | None = None
    train: str | None = None
    limit: int | None = None
    set: dict[str, Any] = field(default_factory=dict)
    seeds: int = 1
    bases: tuple[int, ...] = (0,)
    world: str = ""
    evaluate: tuple[str, ...] = ()
    grid: Grid | None = None
    grid_like: str | None = None
    paper: dict[str, Any] = field(default_factory=dict)
    stands_in: str = ""
    note: str = ""
    family: str = ""
    levels: dict[str, str] = field(default_factory=dict)

    @property
    def builds_only(self) -> bool:
        """Whether nothing is trained or evaluated: the row's numbers are those of its pairs."""
        return self.data is not None and self.train is None


@dataclass(frozen=True)
class Plan:
    """A checked plan. Parts are settings of a section, with references still in them.

    Args:
        name: what the user called it.
        path: its file.
        recipe: name or file that all parts start from.
        data, train, evaluate: parts by name.
        rows: by name, in the plan's order.
        claims: what is concluded from rows, in the plan's order.
        leads: of rows over others, against what differs between worlds.
        kl: None where it is not measured.
        show: metrics of the table in the end.
        scale: which of ``scales`` was merged; None for the plan as it stands.
        columns: by what the paper calls them.
    """

    name: str
    path: Path
    title: str
    recipe: str
    bases: Bases
    data: Mapping[str, Mapping[str, Any]]
    train: Mapping[str, Mapping[str, Any]]
    evaluate: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Row]
    claims: tuple[Claim, ...] = ()
    kl: KlPrompts | None = None
    show: tuple[str, ...] = ()
    note: str = ""
    scale: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    leads: tuple[Lead, ...] = ()

    @property
    def base_row(self) -> Row | None:
        """The first row that is a base."""
        return next((row for row in self.rows.values() if row.data is None), None)

    def base_of(self, row: str) -> Row | None:
        """The first row that is a base of the world that a row starts from."""
        world = self.rows[row].world
        return next((one for one in self.rows.values() if one.data is None and one.world == world), None)

    def rows_needed_by(self, row: Row) -> list[str]:
        """Rows whose adapters a row's data or training takes, each once."""
        waiting: list[Any] = [self.train.get(row.train or "", {}), row.set, self.data.get(row.data or "", {})]
        found: dict[str, None] = {}
        while waiting:
            for kind, name in references(waiting.pop(0)):
                if kind == "row":
                    found[name] = None
                else:
                    waiting.append(self.data[name])
        return list(found)

    def in_world(self, name: str, world: str) -> Row | None:
        """The row, or the one of the family, of that name in a world."""
        return next((row for row in self.rows.values() if row.world == world and name in (row.name, row.family)), None)
