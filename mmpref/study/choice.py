"""The one rule by which a grid chooses: see `mmpref.study.grid.Grid`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.errors import RunError
from mmpref.study.grid import Grid
from mmpref.study.measurement import Measurement, MetricValue


@dataclass(frozen=True)
class Choice:
    """What a grid chose.

    Args:
        point: the settings.
        outside: no point kept what it had to; this is the one that kept most.
    """

    point: Mapping[str, Any]
    outside: bool = False


def points(grid: Grid) -> list[dict[str, Any]]:
    """Every combination of the grid's values, the first key's slowest."""
    return [dict(zip(grid.search, values, strict=True)) for values in itertools.product(*grid.search.values())]


def choose(grid: Grid, base: Measurement | None, measured: Sequence[Measurement]) -> Choice:
    """The best of the points that were measured; of equal ones the first. A point where a metric is undefined is none.

    Args:
        base: the base on the grid's evaluation; None where the grid keeps nothing.
        measured: points, in the grid's order; at least one.

    Raises:
        RunError: a metric that the evaluation does not have, that knows no better and worse, or that is undefined at
            every point or, where it is to be kept, of the base.
    """
    kept = found = _where_defined(grid.best, measured)
    if base is not None and grid.keep is not None:
        found = _where_defined(grid.keep, found)
        (compared,) = _where_defined(grid.keep, [base])
        least = _goodness(compared, grid.keep) - grid.within
        kept = [one for one in found if _goodness(one, grid.keep) >= least]
    metric = grid.best if kept or grid.keep is None else grid.keep
    return Choice(max(kept or found, key=lambda one: _goodness(one, metric)).point, outside=not kept)


def _where_defined(metric: str, measured: Sequence[Measurement]) -> list[Measurement]:
    defined = [one for one in measured if math.isfinite(_goodness(one, metric))]
    if not defined:
        where = f"at no point of row {measured[0].row!r}" if measured[0].point else "not of the base"
        raise RunError(
            f"The metric {metric!r}, which a row is chosen by, is defined {where}.",
            "It is over nothing there, such as a share of mentions where none is made: choose by another, or search "
            "other values.",
        )
    return defined


def _goodness(one: Measurement, metric: str) -> float:
    """The metric's value, turned so that more is better; what is undefined is no number."""
    value = one.value(metric)
    if value is None or value.higher_is_better is None:
        known = ", ".join(value.key.name for value in one.values if value.higher_is_better is not None)
        what = "has no better and worse" if isinstance(value, MetricValue) else "was not measured"
        raise RunError(f"The metric {metric!r}, which row {one.row!r} is chosen by, {what}.", f"There are: {known}.")
    return value.value if value.higher_is_better else -value.value
