"""What a study has measured so far, as a plain table: a line for each row and evaluation, means over bases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.run.asked import TRAINED_ON
from mmpref.run.results import ALL, Key
from mmpref.study.means import mean_over_bases
from mmpref.study.measurement import Measurement
from mmpref.study.plan_types import Plan


@dataclass(frozen=True)
class RowSummary:
    """Means of a row on one evaluation.

    Args:
        bases, runs: how many are measured.
        means: by metric, over bases of the means over seeds; None where it was not measured.
        kl: mean KL from the base in nats a token; None for a base.
        points: settings that its grid chose, as text.
        outside: its grid had no point that kept what it had to.
        trained_on: benchmarks some of whose images its adapters were trained on.
    """

    row: str
    split: str
    bases: int
    runs: int
    means: dict[str, float | None]
    kl: float | None
    points: str
    outside: bool
    trained_on: tuple[str, ...] = ()


def summarize(plan: Plan, measurements: Sequence[Measurement]) -> list[RowSummary]:
    """In the plan's order; rows that are not measured at all are left out."""
    metrics = shown_metrics(plan, measurements)
    found = []
    for row in plan.rows.values():
        for split in row.evaluate:
            runs = [one for one in measurements if (one.row, one.split, one.is_grid_point) == (row.name, split, False)]
            if not runs:
                continue
            values = {name: [(one.base, value.value) for one in runs if (value := one.value(name))] for name in metrics}
            kls = [(one.base, one.kl) for one in runs if one.kl is not None]
            points = sorted({", ".join(f"{key}={value}" for key, value in one.point.items()) for one in runs})
            found.append(
                RowSummary(
                    row.name,
                    split,
                    len({one.base for one in runs}),
                    len(runs),
                    {name: mean_over_bases(known) for name, known in values.items()},
                    mean_over_bases(kls),
                    "; ".join(points),
                    any(one.outside for one in runs),
                    tuple(sorted({name for one in runs for name in one.trained_on})),
                )
            )
    return found


def shown_metrics(plan: Plan, measurements: Sequence[Measurement]) -> list[str]:
    """The plan's ``show``, else what its grids go by and each benchmark's first metric as a whole."""
    if plan.show:
        return list(plan.show)
    names = [name for row in plan.rows.values() if row.grid for name in (row.grid.best, row.grid.keep) if name]
    first: dict[str, str] = {}
    for one in measurements:
        for value in one.values:
            if value.key.part == ALL and not one.is_grid_point:
                first.setdefault(value.key.benchmark, value.key.name)
    return list(dict.fromkeys([*names, *first.values()]))


def table(summaries: Sequence[RowSummary]) -> tuple[list[str], list[list[str]]]:
    """Columns, and a line of text for each."""
    metrics = list(dict.fromkeys(name for one in summaries for name in one.means))
    lines = [
        [
            one.row,
            one.split,
            str(one.bases),
            str(one.runs),
            *(_mean(one, name) for name in metrics),
            _text(one.kl, 4),
            one.points + (" (outside)" if one.outside else ""),
        ]
        for one in summaries
    ]
    return ["row", "on", "bases", "runs", *metrics, "KL", "chosen on dev"], lines


def _mean(one: RowSummary, metric: str) -> str:
    text = _text(one.means.get(metric))
    return f"{text} {TRAINED_ON}" if text and Key.of(metric).benchmark in one.trained_on else text


def _text(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
