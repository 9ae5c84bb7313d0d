"""The verdict of an evaluation: a line for each benchmark that fits a screen, made before all tables of details.

A line is about a metric that claims are made on (a benchmark's headline metric; its first one, where it has none). It
has what the metric was and became, the paired difference with its 95 % interval, and better, worse, no clear change, or
cannot tell where it is undefined (`mmpref.run.results.Difference.verdict`). Other metrics of the same part whose
interval excludes 0 are named below it, by the same rule: fewer hallucinations with less recall are not simply better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmpref.run.results import ADAPTER, ALL, BASE, Difference, Key, Results, Value
from mmpref.run.results_text import decimals, interval_text

TITLE = "verdict: difference [95 % interval]"
LEGEND = (
    "better, worse: the interval of the difference excludes 0, and p, corrected for all claims, is below 0.05; "
    "perhaps: p is not; cannot tell: a model has no value. ↑ more is better, ↓ less is."
)
UNTESTED = "not tested"


class Tested(NamedTuple):
    """A metric of two models; ``difference`` is None where they cannot be tested against each other."""

    key: Key
    first: Value | None
    second: Value | None
    difference: Difference | None


@dataclass(frozen=True)
class Line:
    """A metric that claims are made on, as text.

    Args:
        name: benchmark and metric.
        arrow: to where better is; empty where neither is.
        first, second: what it was and became; of one model alone ``first`` has the interval, and ``second`` is empty.
        difference: with its interval.
        verdict: better, worse, no clear change, cannot tell, not tested; empty of one model alone.
        also: other metrics of the benchmark whose interval excludes 0, with their verdicts; empty where none does.
    """

    name: str
    arrow: str
    first: str
    second: str = ""
    difference: str = ""
    verdict: str = ""
    also: str = ""

    @property
    def label(self) -> str:
        """Name and arrow."""
        return f"{self.name} {self.arrow}".rstrip()

    @property
    def kind(self) -> str:
        """``better``, ``worse`` or nothing, for its colour."""
        return self.verdict if self.verdict in ("better", "worse") else ""


def lines_of(results: Results) -> list[Line]:
    """The lines of an evaluation: of base and adapter, or of the base alone."""
    base, adapter, differences = results.by_key(BASE), results.by_key(ADAPTER), results.differences_by_key()
    return make_lines([Tested(key, base[key], adapter.get(key), differences.get(key)) for key in base])


def make_lines(metrics: Iterable[Tested]) -> list[Line]:
    """A line for each headline metric, in the order of the benchmarks; benchmarks without any value have none."""
    by_benchmark: dict[str, list[Tested]] = {}
    for one in metrics:
        if one.first or one.second:
            by_benchmark.setdefault(one.key.benchmark, []).append(one)
    return [_line(one, group) for group in by_benchmark.values() for one in _headlines(group)]


def table(lines: Sequence[Line], names: tuple[str, str] = (BASE, ADAPTER)) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of text.

    Args:
        names: of the first and the second model.
    """
    if not any(line.verdict for line in lines):
        return ["benchmark", "value [95 % interval]"], [[line.label, line.first] for line in lines]
    return ["benchmark", *names, "difference", "verdict"], [
        [line.label, line.first, line.second, line.difference, line.verdict] for line in lines
    ]


def remarks(lines: Sequence[Line]) -> list[str]:
    """What stands below the table: what else has changed."""
    return [f"{line.name}: also {line.also}." for line in lines if line.also]


def _headlines(group: Sequence[Tested]) -> list[Tested]:
    claimed = [one for one in group if (one.second or one.first).headline]  # type: ignore[union-attr]
    return claimed or sorted(group, key=lambda one: one.key.part != ALL)[:1]


def _line(one: Tested, group: Sequence[Tested]) -> Line:
    key, first, second, difference = one
    value = first or second
    assert value is not None
    arrow = {True: "↑", False: "↓", None: ""}[value.higher_is_better]
    name = key.unjudged.name
    digits = decimals(value.value)
    if second is None and difference is None:
        return Line(name, arrow, value.text(digits=digits))
    return Line(
        name,
        arrow,
        _number(first, digits),
        _number(second, digits),
        difference.text(signed=True, digits=digits) if difference else "–",
        difference.verdict if difference else UNTESTED,
        _also(one, group),
    )


def _number(value: Value | None, digits: int) -> str:
    return interval_text(value.value, None, None, digits=digits) if value else "–"


def _also(one: Tested, group: Sequence[Tested]) -> str:
    changed = [
        f"{other.key.unjudged.metric} {other.difference.verdict}"
        for other in group
        if other is not one and other.key.part == one.key.part and other.difference and other.difference.direction
    ]
    return ", ".join(changed)
