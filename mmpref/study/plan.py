"""A study's plan: rows composed of named parts, read from YAML and checked.

A plan of two rows::

    title: BDHS against its base
    recipe: testbed                      # what every part is put over
    bases: {seeds: [0, 1], trained_by: "mmpref.testbed.training.base:train_base"}     # see `mmpref.study.bases`
    seeds: 3                             # alignment seeds a row
    data:                                # over the recipe's build-dataset section
      pairs: {method: bdhs, builder: {rho_th: 0.9}}
      again: {method: mix, source: [{data: pairs}]}     # a part built on another part's pairs
      ready: {dataset: [me/pairs]}       # no building: train takes these rows (keys of the train section)
      sifted: {method: iris, builder: {adapter: {row: bdhs}}}   # by the adapter of a row, of the same base, seed 0
    train:                               # over the train section
      dpo: {method: dpo}
      rloo: {method: rloo, loss: {reward: {row: reward}}}   # the adapter of another row, of the same base and seed
    evaluate:                            # over the evaluate section, by the split's name in the ledger
      dev: {benchmarks: [chair], split: dev}
      test: {benchmarks: [chair, pope]}
    grid:                                # how an arm's settings are chosen: see `Grid`
      search: {trainer.learning_rate: [1.0e-4, 3.0e-4]}
      best: chair chair_i
      keep: chair recall
      within: 0.02
    rows:
      base: {}
      bdhs: {data: pairs, train: dpo, seeds: 5, paper: {POPE: 88.75}, note: the main arm}
      fewer: {data: pairs, train: dpo, limit: 50, grid: like bdhs}
      long: {data: pairs, train: dpo, set: {trainer.num_train_epochs: 3}, grid: none}
      seen: {data: pairs, train: dpo, each: {data.builder.rho_th: [0, 1]}}   # see `mmpref.study.variants`
      pairs: {data: pairs, stands_in: a test}    # builds only: its numbers are the data's
    claims: []                           # what is concluded from rows: see `mmpref.study.claims`
    leads: []                            # a row less another, by what worlds differ in: see `mmpref.study.leads`
    kl: {split: dev, prompts: 100}       # KL from the base, on prompts of an evaluation; kl: none leaves it out
    show: [chair chair_i, chair recall]  # columns of the table in the end
    columns:                             # what the paper calls a number -> ours: see `mmpref.study.columns`
      POPE: {metric: pope mean_f1, times: 100}
    scales:                              # --scale paper: the same plan with these keys merged over it; null takes
      paper: {recipe: paper, bases: [0]} # one away, and what stands in for something is said anew

``extends: FILE`` names a file beside it with the same keys, which the plan's own are merged over: parts that several
plans have in common. A file whose name begins with ``_`` is for that only.
"""

from __future__ import annotations

import dataclasses
import graphlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.errors import UsageError
from mmpref.recipes.resolve import merge
from mmpref.recipes.schema import build
from mmpref.registry import suggest
from mmpref.study.bases import Bases
from mmpref.study.claims import Claim, names_in
from mmpref.study.columns import Column
from mmpref.study.grid import DEV, Grid
from mmpref.study.leads import Lead
from mmpref.study.plan_file import find, names, over, read_extended
from mmpref.study.references import references
from mmpref.study.variants import expand


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


@dataclass(frozen=True)
class _File:
    """The keys of a plan's file, but for ``scales``."""

    rows: dict[str, Any]
    title: str = ""
    note: str = ""
    recipe: str = "testbed"
    bases: Any = None
    seeds: int = 1
    data: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    leads: tuple[Lead, ...] = ()
    measure: tuple[str, ...] = ()
    kl: Any = None
    show: tuple[str, ...] = ()


def load(name_or_path: str, scale: str | None = None) -> Plan:
    """Read a plan by name or file; every part that a row or another part names is there.

    Args:
        scale: one of the plan's ``scales``, merged over it key by key.

    Raises:
        UsageError: no such plan or scale; an unknown key, a name without its part, a value of another type.
        InputError: the file is no mapping in YAML.
    """
    path = find(name_or_path)
    if path is None:
        raise UsageError(f"There is no study {name_or_path!r}.", suggest(name_or_path, names()))
    content = read_extended(path)
    scales = content.pop("scales", None) or {}
    if scale is not None:
        if scale not in scales:
            raise UsageError(f"{path} has no scale {scale!r}.", suggest(scale, list(scales)))
        content["rows"] = {name: over(row or {}, {"stands_in": None}) for name, row in content["rows"].items()}
        content = over(content, scales[scale] or {})
    file = build(_File, expand(content, str(path)), str(path))
    plan = Plan(
        name=name_or_path,
        path=path,
        title=file.title or path.stem,
        recipe=file.recipe,
        bases=_bases(file.bases, path),
        data=_parts(file.data, f"{path}: data"),
        train=_parts(file.train, f"{path}: train"),
        evaluate=_parts(file.evaluate, f"{path}: evaluate"),
        rows={},
        claims=file.claims,
        kl=_kl(file, path),
        show=file.show,
        note=file.note,
        scale=scale,
        columns=file.columns,
        leads=file.leads,
    )
    rows = {str(name): _row(str(name), values, file, plan) for name, values in file.rows.items()}
    plan = dataclasses.replace(plan, rows=rows)
    _check_names(plan)
    return plan


def _bases(value: Any, path: Path) -> Bases:
    """Of a list of seeds, or a mapping.

    Raises:
        UsageError: seeds that nobody can train.
    """
    values = {"seeds": value} if isinstance(value, list | tuple) else value or {}
    bases = build(Bases, values, f"{path}: bases")
    if not bases.seeds or len(set(bases.seeds)) < len(bases.seeds):
        raise UsageError(f"{path}: bases.seeds is {list(bases.seeds)}; it must name each seed once.")
    if not bases.trained_by and not all(map(bases.is_own, bases.starts())):
        raise UsageError(
            f"{path}: bases names seeds {list(bases.seeds)}, and nothing that trains them.",
            "Only 0 is the recipe's own model; write bases: {seeds: ..., trained_by: module:function}.",
        )
    return bases


def _kl(file: _File, path: Path) -> KlPrompts | None:
    if file.kl == "none" or (file.kl is None and DEV not in file.evaluate):
        return None
    kl = build(KlPrompts, file.kl or {}, f"{path}: kl")
    if kl.split not in file.evaluate or kl.prompts < 1:
        raise UsageError(
            f"{path}: kl is on {kl.prompts} prompts of {kl.split!r}.", "Name an evaluation, or write kl: none."
        )
    return kl


def _parts(parts: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    for name, values in parts.items():
        if not isinstance(values, Mapping | None):
            raise UsageError(f"{where}.{name} is {values!r}; it must be a mapping.")
    return {str(name): dict(values or {}) for name, values in parts.items()}


def _row(name: str, values: Any, file: _File, plan: Plan) -> Row:
    """A row with what it leaves to the plan filled in."""
    where = f"{plan.path}: row {name!r}"
    if not isinstance(values, Mapping | None):
        raise UsageError(f"{where} is {values!r}; it must be a mapping.")
    values = dict(values or {})
    trains = values.get("train") is not None
    grid = values.pop("grid", file.grid if trains else None)
    if isinstance(grid, str) and grid.startswith("like "):
        values["grid_like"] = grid.removeprefix("like ").strip()
    elif isinstance(grid, Mapping):
        values["grid"] = merge(file.grid or {}, grid)
    elif grid not in (None, "none"):
        raise UsageError(f"{where}.grid is {grid!r}; it must be a mapping, 'like ROW' or 'none'.")
    row = build(Row, {"name": name, "seeds": file.seeds, "bases": list(plan.bases.seeds), **values}, where)
    if not trains:
        row = dataclasses.replace(row, seeds=1)
    if (trains and row.data is None) or (not trains and (row.limit or row.set or row.grid or row.grid_like)):
        raise UsageError(
            f"{where} trains on no data, or has settings of a training that it lacks.",
            "Name both data and train, data alone to build pairs only, or neither for the base itself.",
        )
    if row.seeds < 1 or (row.limit is not None and row.limit < 1):
        raise UsageError(f"{where}: seeds and limit must be at least 1.")
    if unknown := set(row.bases) - set(plan.bases.seeds):
        raise UsageError(f"{where} names the base {min(unknown)}, which the plan's bases lack.")
    worlds = plan.bases.worlds
    if row.world not in (worlds or ("",)):
        raise UsageError(f"{where} starts in the world {row.world!r}.", suggest(row.world, list(worlds)))
    if row.builds_only:
        return row
    if row.grid:
        row.grid.check(where, row.bases, row.seeds)
    chosen = {row.grid.split if row.grid else DEV}
    evaluations = row.evaluate or file.measure or tuple(split for split in plan.evaluate if split not in chosen)
    if not evaluations:
        raise UsageError(f"{where} has no evaluation.", f"Name one beside {DEV!r} under evaluate.")
    return dataclasses.replace(row, evaluate=evaluations)


def _check_names(plan: Plan) -> None:
    """See that every name is one, and that nothing is made of itself."""
    known = {"data": plan.data, "train": plan.train, "row": plan.rows, "evaluate": plan.evaluate}

    def check(kind: str, name: str, where: str) -> None:
        if name not in known[kind]:
            what = {"row": "row", "evaluate": "evaluation"}.get(kind, f"part of {kind}")
            raise UsageError(f"{plan.path}: {where} names the {what} {name!r}.", suggest(name, list(known[kind])))

    needs: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for kind in ("data", "train"):
        for name, values in known[kind].items():
            needs[kind, name] = set(references(values))
            for reference in needs[kind, name]:
                check(*reference, where=f"{kind}.{name}")
    for row in plan.rows.values():
        where = f"row {row.name!r}"
        needs["row", row.name] = set(references(row.set))
        for kind in ("data", "train"):
            if (name := getattr(row, kind)) is not None:
                check(kind, name, where)
                needs["row", row.name].add((kind, name))
        for reference in references(row.set):
            check(*reference, where=where)
        for split in (*row.evaluate, *([row.grid.split] if row.grid else [])):
            check("evaluate", split, where)
        base = plan.base_of(row.name)
        if row.grid and row.grid.keep and (base is None or row.grid.base not in base.bases):
            raise UsageError(
                f"{plan.path}: the grid of {where} compares with the base, which is in no row.", "Add a row: base: {}"
            )
        if row.grid_like is not None:
            check("row", row.grid_like, where)
            if plan.rows[row.grid_like].grid is None:
                raise UsageError(f"{plan.path}: {where} takes the choice of {row.grid_like!r}, which makes none.")
    for kind, name, where in names_in(plan.claims, str(plan.path)):
        check(kind, name, where)
    for lead in plan.leads:
        lead.check(list(plan.bases.worlds), list(plan.evaluate), str(plan.path))
    for effect in (effect for claim in plan.claims for effect in claim.effects):
        for row in (plan.rows[name] for name in filter(None, (effect.row, effect.against))):
            if effect.split not in row.evaluate:
                said = f"a claim is about row {row.name!r} on {effect.split!r}, where it is not evaluated"
                raise UsageError(f"{plan.path}: {said}.", f"It is on: {', '.join(row.evaluate) or 'nothing'}.")
        if effect.against and plan.rows[effect.row].world != plan.rows[effect.against].world:
            raise UsageError(f"{plan.path}: a claim compares {effect.row!r} with {effect.against!r} of another world.")
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        circle = " needs ".join(name for _, name in reversed(error.args[1]))
        raise UsageError(f"{plan.path}: {circle}: a part cannot be made of itself.") from error
