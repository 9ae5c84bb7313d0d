"""The verdict of an evaluation: a line for each benchmark that fits a screen, made before all tables of details.

A line is about a metric that claims are made on (a benchmark's headline metric; its first one, where it has none). It
has what the metric was and became, the paired difference with its 95 % interval, and better, worse, no clear change, or
cannot tell where it is undefined or over too few pairs (`mmpref.run.results.Difference.verdict`). Other metrics of the
same part whose interval excludes 0 are named below it, by the same rule: fewer hallucinations with less recall are not
simply better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mmpref.run.asked import Marks, marked, meanings
from mmpref.run.results import ADAPTER, ALL, BASE, Difference, Key, Results, Value
from mmpref.run.results_text import FORM, decimals, interval_text, too_few_pairs

TITLE = "verdict: difference [95 % interval]"
LEGEND = (
    "better, worse: the interval of the difference excludes 0, and p, corrected for all claims, is below 0.05; "
    "perhaps: p is not; cannot tell: a model has no value, or more than a tenth of the pairs no score of both. "
    "↑ more is better, ↓ less is."
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
        verdict: better, worse, no clear change, cannot tell, form only, not tested; empty of one model alone.
        also: other metrics of the benchmark whose interval excludes 0, with their verdicts; empty where none does.
        pairs, lost: of how many samples both models have a score, which all of the line is over, and of how many not.
        marks: of what it is measured on (`mmpref.run.asked.Asked.marks`).
    """

    name: str
    arrow: str
    first: str
    second: str = ""
    difference: str = ""
    verdict: str = ""
    also: str = ""
    pairs: int = 0
    lost: int = 0
    marks: Marks = ()

    @property
    def label(self) -> str:
        """Name and arrow."""
        return f"{self.name} {self.arrow}".rstrip()

    @property
    def kind(self) -> str:
        """``better``, ``worse`` or nothing, for its colour: to be better where that says little is no good news."""
        told = ("worse",) if self.marks else ("better", "worse")
        return self.verdict if self.verdict in told else ""

    @property
    def marked_verdict(self) -> str:
        """The verdict as it is shown."""
        return marked(self.verdict, self.marks)


def lines_of(results: Results) -> list[Line]:
    """The lines of an evaluation: of base and adapter, or of the base alone."""
    base, adapter, differences = results.by_key(BASE), results.by_key(ADAPTER), results.differences_by_key()
    marks = {name: asked.marks for name, asked in results.asked.items()}
    return make_lines([Tested(key, base[key], adapter.get(key), differences.get(key)) for key in base], marks)


def make_lines(metrics: Iterable[Tested], marks: Mapping[str, Marks] | None = None) -> list[Line]:
    """A line for each headline metric, in the order of the benchmarks, those first that `counts_faults`; benchmarks
    without any value have none.

    Args:
        marks: of each benchmark, where it has any.
    """
    by_benchmark: dict[str, list[Tested]] = {}
    for one in metrics:
        if one.first or one.second:
            by_benchmark.setdefault(one.key.benchmark, []).append(one)
    groups = sorted(by_benchmark.values(), key=lambda group: not counts_faults(_value(one) for one in group))
    made = [(one.key.benchmark, _line(one, group)) for group in groups for one in _headlines(group)]
    return [replace(line, marks=(marks or {}).get(benchmark, ())) for benchmark, line in made]


def counts_faults(values: Iterable[Value | None]) -> bool:
    """Whether a benchmark claims that something falls: how much of what answers say the image does not show (CHAIR,
    AMBER, Object HalBench). It stands before those that count right answers, most of them to questions of yes or no."""
    return any(value is not None and value.headline and value.higher_is_better is False for value in values)


def _value(one: Tested) -> Value | None:
    return one.second or one.first


def table(lines: Sequence[Line], names: tuple[str, str] = (BASE, ADAPTER)) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of text.

    Args:
        names: of the first and the second model.
    """
    if not any(line.verdict for line in lines):
        return ["benchmark", "value [95 % interval]"], [[line.label, line.first] for line in lines]
    return ["benchmark", *names, "difference", "verdict"], [
        [line.label, line.first, line.second, line.difference, line.marked_verdict] for line in lines
    ]


def title(lines: Sequence[Line]) -> str:
    """Of the table: one model alone has no verdict."""
    return TITLE if any(line.verdict for line in lines) else "results"


def legend(lines: Sequence[Line]) -> str:
    """What the verdicts of a table mean; empty where it has none."""
    if not any(line.verdict for line in lines):
        return ""
    is_form = any(line.verdict == FORM for line in lines)
    return "".join(
        (
            LEGEND,
            f" {FORM}: most answers could not be read, so that it measures their form, not content." if is_form else "",
            meanings(line.marks for line in lines),
        )
    )


def remarks(lines: Sequence[Line]) -> list[str]:
    """What stands below the table: what else has changed, and which lines are over fewer samples than were asked."""
    also = [f"{line.name}: also {line.also}." for line in lines if line.also]
    return [*also, *(lost_text(line.name, line.pairs, line.lost) for line in lines if line.lost)]


def lost_text(name: str, pairs: int, lost: int) -> str:
    """That values and difference are over fewer samples than were asked, as a sentence."""
    few = ", too few for a verdict: which are left may hang on the answers" if too_few_pairs(pairs, lost) else ""
    return (
        f"{name}: {lost:,} of {pairs + lost:,} pairs have no score of both models; values and difference are over the "
        f"other {pairs:,}{few}."
    )


def _headlines(group: Sequence[Tested]) -> list[Tested]:
    claimed = [one for one in group if (value := _value(one)) and value.headline]
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
    before, after = first.value if first else None, second.value if second else None
    if difference and (difference.pairs or difference.lost):  # of the same samples as the difference
        before, after = difference.first, difference.second
    return Line(
        name,
        arrow,
        _number(before, digits),
        _number(after, digits),
        difference.text(signed=True, digits=digits) if difference else "–",
        difference.verdict if difference else UNTESTED,
        _also(one, group),
        difference.pairs if difference else 0,
        difference.lost if difference else 0,
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else interval_text(value, None, None, digits=digits)


def _also(one: Tested, group: Sequence[Tested]) -> str:
    changed = [
        f"{other.key.unjudged.metric} {other.difference.verdict}"
        for other in group
        if other is not one and other.key.part == one.key.part and other.difference and other.difference.direction
    ]
    return ", ".join(changed)
