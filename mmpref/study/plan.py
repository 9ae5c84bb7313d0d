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
    columns:                             # what the paper calls a number -> ours: see `mmpref.study.paper_columns`
      POPE: {metric: pope mean_f1, times: 100}
    scales:                              # --scale paper: the same plan with these keys merged over it; null takes
      paper: {recipe: paper, bases: [0]} # one away, and what stands in for something is said anew
      13b: {extends: paper, recipe: mine} # over another scale, with published figures of its own only

``extends: NAME`` names a plan, or a file beside it with the same keys, which the plan's own are merged over: parts that
several plans have in common. A file whose name begins with ``_`` is for that only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.errors import UsageError
from mmpref.recipes.resolve import merge
from mmpref.recipes.schema import build
from mmpref.registry import suggest
from mmpref.study.bases import Bases
from mmpref.study.claims import Claim
from mmpref.study.grid import DEV
from mmpref.study.leads import Lead
from mmpref.study.paper_columns import Column
from mmpref.study.plan_file import find, names, over, read_extended
from mmpref.study.plan_names import check_names
from mmpref.study.plan_types import KlPrompts, Plan, Row
from mmpref.study.variants import expand


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
        content = _at(scale, content, scales, path)
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
    check_names(plan)
    return plan


def _at(scale: str, content: dict[str, Any], scales: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A plan's content at a scale, and at the one that this extends before.

    Raises:
        UsageError: there is no such scale.
    """
    if scale not in scales:
        raise UsageError(f"{path} has no scale {scale!r}.", suggest(scale, list(scales)))
    others = {name: values for name, values in scales.items() if name != scale}
    own = dict(scales[scale] or {})
    below = own.pop("extends", None)
    if below is not None:
        content = _at(str(below), content, others, path)
    anew = "stands_in" if below is None else "paper"
    rows = {name: over(row or {}, {anew: None}) for name, row in content["rows"].items()}
    return over({**content, "rows": rows}, own)


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
