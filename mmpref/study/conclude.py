"""What a study has come to: verdicts on its claims, its tables, its grids and what its data were like.

Everything comes from the ledger, whole or not; of what was not measured yet nothing is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmpref.bench.intervals import Estimate
from mmpref.run.results import ALL, Key
from mmpref.run.results_text import MOST_UNREAD
from mmpref.study.claims import Claim, Compared, Verdict, judge
from mmpref.study.effects import Effect, Effects
from mmpref.study.grid import Grid
from mmpref.study.lead_curves import LeadCurve, lead_curves
from mmpref.study.means import mean_over_bases
from mmpref.study.measurement import Failure, Measurement
from mmpref.study.named_metrics import named
from mmpref.study.paper_table import PaperTable, paper_table
from mmpref.study.plan_types import Plan

FACTS = {
    "pairs": "pairs",
    "differing_words": "words that differ",
    "length_ratio": "length of rejected over chosen, in words",
    "similarity": "similarity",
    "resolved_first": "resolved at the first try",
    "resolved": "resolved",
    "tempting": "tempting objects a pair",
}
"""Facts of data by what tables call them; others stand behind them under their own names."""
TRAINING = {
    "steps": "steps",
    "loss": "loss, which only compares within a method",
    "accuracy": "pairs told apart",
    "chosen_logp": "log-probability of the chosen answer",
    "rejected_logp": "of the rejected one",
    "chosen_kl": "KL on the chosen answer",
    "rejected_kl": "on the rejected one",
}
"""What a training has come to in its end, by what tables call it."""
_HIDDEN = {("chair", "mentions"), ("chair", "chair_s")}
_OF_PARTS = {"pope": "accuracy"}
"""Benchmarks of which one metric is shown, in every part."""


@dataclass(frozen=True)
class Concluded:
    """A verdict with what it rests on.

    Args:
        effects: one for each effect of the claim; None of one that was not measured.
        left: runs of its rows, on the evaluations that it looks at, that are still to come.
    """

    verdict: Verdict
    effects: tuple[Effect | None, ...]
    left: int = 0

    @property
    def trained_on(self) -> bool:
        """Whether an adapter was trained on images that the verdict is by."""
        return any(effect.trained_on for effect in self.effects if effect)

    @property
    def is_final(self) -> bool:
        """Whether nothing is to come that could change the verdict."""
        return not self.left


@dataclass(frozen=True)
class Line:
    """A row in a table.

    Args:
        values: one for each metric of the table; None of one that was not measured.
        changes: the same against the base; None for the base itself.
        kl: mean over its bases, in nats a token; None where it is not known.
        outside: no point of its grid kept what it had to.
        point: settings that its grid has chosen.
    """

    row: str
    values: tuple[Effect | None, ...]
    changes: tuple[Effect | None, ...]
    kl: float | None
    outside: bool = False
    point: Mapping[str, Any] | None = None

    @property
    def over(self) -> str:
        """How many bases and seeds its values are over; those of rows differ as long as runs are to come."""
        return next((value.runs for value in self.values if value), "")


@dataclass(frozen=True)
class MetricTable:
    """The rows of a study on one evaluation."""

    split: str
    keys: tuple[Key, ...]
    lines: tuple[Line, ...]

    @property
    def has_changes(self) -> bool:
        """Whether any row can be compared with the base."""
        return any(any(line.changes) for line in self.lines)


@dataclass(frozen=True)
class GridPoint:
    """Settings that were tried.

    Args:
        best, keep: the metrics that the choice is by; None where it was not measured.
        trained_on: the adapter was trained on images of theirs.
    """

    point: Mapping[str, Any]
    best: float | None
    keep: float | None
    kl: float | None
    chosen: bool
    trained_on: bool = False


@dataclass(frozen=True)
class GridResult:
    """The grid of a row, in the plan's order of settings.

    Args:
        base: the base's metrics on the same evaluation; None where it was not measured.
        outside: none of the points kept what it had to.
    """

    row: str
    grid: Grid
    points: tuple[GridPoint, ...]
    base: GridPoint | None
    outside: bool


@dataclass(frozen=True)
class Conclusions:
    """All that a page of a study shows, but for its scenes.

    Args:
        facts: by row, means over its bases of what its data were like.
        runs: measured runs, without points of grids; by how many the plan has in all.
        warnings: runs that were left out, and why; metrics that the plan names and no evaluation gives.
        leads: with the points that were measured.
        training: by row, means over its bases of what its training has come to.
        paper: the rows that the paper has figures of; None of a plan that says none.
    """

    plan: Plan
    claims: tuple[Concluded, ...]
    tables: tuple[MetricTable, ...]
    grids: tuple[GridResult, ...]
    facts: Mapping[str, Mapping[str, float]]
    runs: tuple[int, int]
    warnings: tuple[str, ...]
    failures: tuple[Failure, ...]
    leads: tuple[LeadCurve, ...] = ()
    training: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    paper: PaperTable | None = None


def conclude(plan: Plan, measurements: Sequence[Measurement], failures: Sequence[Failure] = ()) -> Conclusions:
    """Judge a plan's claims, and put together what was measured; the same ledger gives the same digits.

    Args:
        failures: runs that failed and were not measured since.
    """
    effects = Effects(plan, measurements)

    def effect(compared: Compared) -> Effect | None:
        against = compared.against or effects.base_of(compared.row)
        if against is None:
            return None
        return effects.difference(compared.row, against, compared.key, compared.split)

    def estimate(compared: Compared) -> Estimate | None:
        return found.of_content if (found := effect(compared)) else None

    verdicts = judge(plan.claims, estimate)
    splits = effects.splits()
    return Conclusions(
        plan,
        tuple(
            Concluded(verdict, tuple(map(effect, verdict.claim.effects)), _left(plan, effects, verdict.claim))
            for verdict in verdicts
        ),
        tuple(_table(effects, split) for split in splits),
        tuple(filter(None, (_grid(plan, row, measurements) for row in plan.rows))),
        {row: facts for row in plan.rows if (facts := _facts(effects, row, splits))},
        _runs(plan, effects),
        (
            *effects.warnings,
            *_unanswerable(plan, effects),
            *_unread(effects, splits),
            *_trained_on(effects, splits),
        ),
        tuple(failures),
        lead_curves(plan, effects),
        {row: facts for row in plan.rows if (facts := _training(effects, row, splits))},
        _beside_paper(effects),
    )


def _beside_paper(effects: Effects) -> PaperTable | None:
    rows = [name for name, row in effects.plan.rows.items() if row.paper]
    return paper_table(effects, rows) if effects.plan.columns and rows else None


def _unanswerable(plan: Plan, effects: Effects) -> list[str]:
    """Metrics that a plan names, and that were not measured where it looks for them, or by several judges."""
    found: dict[str, None] = {}
    for one in named(plan):
        on = [split for split in one.splits if effects.keys(split)]
        keys = [key for split in on for key in effects.keys(split)]
        asked = f"{one.by[:1].upper()}{one.by[1:]} goes by {one.key.name} on {', '.join(on)}"
        judges = list(dict.fromkeys(key.judge for key in keys if key.unjudged == one.key))
        if on and not judges and (len(on) == len(one.splits) or one.key.benchmark in {key.benchmark for key in keys}):
            has = dict.fromkeys(
                " ".join(key.unjudged[1:]).removesuffix(f" {ALL}") for key in keys if key.benchmark == one.key.benchmark
            )
            others = dict.fromkeys(key.benchmark for key in keys)
            gives = f"of {one.key.benchmark} only {', '.join(has)}" if has else f"nothing but {', '.join(others)}"
            found[f"{asked}, where there is {gives}: nothing can be said of it."] = None
        elif len(judges) > 1 and len(one.splits) == 1 and one.key not in keys:
            found[f"{asked}, which several have judged: only what {judges[0]} says is taken."] = None
    return list(found)


def _unread(effects: Effects, splits: Sequence[str]) -> list[str]:
    """Of which rows many answers could not be read, in the run that has most of them."""
    found: dict[tuple[str, str, str], float] = {}
    for split in splits:
        for run in (run for row in effects.rows(split) for run in effects.runs(row, split)):
            for value in run.values:
                where = run.row, split, value.key.name
                found[where] = max(value.unread, found.get(where, 0.0))
    return [
        f"{row} on {split}: up to {share:.0%} of a model's answers could not be read for {name}, which counts them all "
        f"the same{': it measures their form, not what they say' if share > MOST_UNREAD else ''}."
        for (row, split, name), share in found.items()
        if share
    ]


def _trained_on(effects: Effects, splits: Sequence[str]) -> list[str]:
    """Of which rows the values say little, as their adapters have seen the images."""
    found: dict[tuple[str, str, str], int] = {}
    for split in splits:
        for run in (run for row in effects.rows(split) for run in effects.runs(row, split)):
            for name, images in run.trained_on.items():
                where = run.row, split, name
                found[where] = max(images, found.get(where, 0))
    return [
        f"{row} on {split}: {images:,} of the images of {name} are among those that its adapter was trained on: its "
        "values there may be too good. Build pairs without them (exclude_images_of), or report on other images."
        for (row, split, name), images in found.items()
    ]


def _left(plan: Plan, effects: Effects, claim: Claim) -> int:
    """Runs that a claim looks at and that are still to come."""
    needed: dict[str, set[str]] = {}
    for compared in claim.effects:
        for row in filter(None, (compared.row, compared.against or effects.base_of(compared.row))):
            needed.setdefault(row, set()).add(compared.split)
    return sum(
        max(0, len(plan.rows[row].bases) * plan.rows[row].seeds - _measured(effects, row, splits))
        for row, splits in needed.items()
    )


def _runs(plan: Plan, effects: Effects) -> tuple[int, int]:
    """Runs that are measured on all that they are to be evaluated on; and all there are."""
    rows = [row for row in plan.rows.values() if row.evaluate]
    measured = sum(_measured(effects, row.name, row.evaluate) for row in rows)
    return measured, sum(len(row.bases) * row.seeds for row in rows)


def _measured(effects: Effects, row: str, splits: Collection[str]) -> int:
    """Runs of a row that are measured on all of some evaluations."""
    return len(set.intersection(*({(run.base, run.seed) for run in effects.runs(row, split)} for split in splits)))


def _table(effects: Effects, split: str) -> MetricTable:
    wanted = {one.key for one in named(effects.plan) if split in one.splits}
    keys = tuple(key for key in effects.keys(split) if key.unjudged in wanted or _is_shown(key))
    lines = []
    for row in effects.rows(split):
        runs = effects.runs(row, split)
        others = base if row != (base := effects.base_of(row)) else None
        lines.append(
            Line(
                row,
                tuple(effects.value(row, key, split) for key in keys),
                tuple(effects.difference(row, others, key, split) if others else None for key in keys),
                _kl(runs),
                any(run.outside for run in runs),
                next((run.point for run in runs if run.point), None),
            )
        )
    return MetricTable(split, keys, tuple(lines))


def _is_shown(key: Key) -> bool:
    """Of every benchmark what says most; of one in parts the whole, of POPE every part."""
    if key.benchmark in _OF_PARTS:
        return key.metric == _OF_PARTS[key.benchmark]
    return key.part == ALL and (key.benchmark, key.metric) not in _HIDDEN


def _grid(plan: Plan, row: str, measurements: Sequence[Measurement]) -> GridResult | None:
    grid = plan.rows[row].grid
    if grid is None:
        return None
    tried = [one for one in measurements if one.row == row and one.is_grid_point and one.split == grid.split]
    if not tried:
        return None
    runs = [one for one in measurements if one.row == row and not one.is_grid_point]
    chosen = next((dict(one.point) for one in runs if one.point), None)
    order = {key: number for number, key in enumerate(grid.search)}
    tried.sort(key=lambda one: [_place(grid, key, one.point.get(key)) for key in order])
    base_row = plan.base_of(row)
    where = base_row.name if base_row else None, grid.split, grid.base
    base = next((one for one in measurements if (one.row, one.split, one.base) == where), None)
    return GridResult(
        row,
        grid,
        tuple(_point(grid, one, dict(one.point) == chosen) for one in tried),
        _point(grid, base, False) if base else None,
        any(one.outside for one in runs),
    )


def _place(grid: Grid, key: str, value: Any) -> int:
    values = list(grid.search[key])
    return values.index(value) if value in values else len(values)


def _point(grid: Grid, one: Measurement, chosen: bool) -> GridPoint:
    best, keep = (one.value(metric) if metric else None for metric in (grid.best, grid.keep))
    seen = any(value.key.benchmark in one.trained_on for value in (best, keep) if value)
    return GridPoint(one.point, best.value if best else None, keep.value if keep else None, one.kl, chosen, seen)


def _facts(effects: Effects, row: str, splits: Sequence[str]) -> dict[str, float]:
    """Of a row's data, each base once."""
    of_bases = {run.base: run.data for split in splits for run in effects.runs(row, split) if run.data}
    names = dict.fromkeys(name for data in of_bases.values() for name in data)
    ordered = [name for name in FACTS if name in names] + [name for name in names if name not in FACTS]
    return {name: statistics.fmean(data[name] for data in of_bases.values() if name in data) for name in ordered}


def _training(effects: Effects, row: str, splits: Sequence[str]) -> dict[str, float]:
    """Of a row's trainings, the mean over bases of the means over seeds."""
    runs = {(run.base, run.seed): run.training for split in splits for run in effects.runs(row, split)}
    found = {}
    for name in TRAINING:
        mean = mean_over_bases((base, training[name]) for (base, _), training in runs.items() if name in training)
        if mean is not None:
            found[name] = mean
    return found


def _kl(runs: Sequence[Measurement]) -> float | None:
    """As values are made: the mean over bases of the means over seeds; None where it is not known."""
    return mean_over_bases((run.base, run.kl) for run in runs if run.kl is not None)
