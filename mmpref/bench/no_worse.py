"""Non-inferiority: whether a model is no worse than another, up to a margin that makes no difference.

"No significant change" of a small test says nothing; "no worse than one point" is a claim. It is made where the 95 %
interval of the paired difference lies wholly on the good side of the margin (`mmpref.run.results_text.no_worse_of`),
which is a one-sided test at 2.5 % as far as the interval holds what it says. The percentile bootstrap does not where
few answers changed: of none it is one point. So the interval is widened to Tango's score interval for paired shares
(Statistics in Medicine 17, 1998), which knows that what changed nothing on n images may change 3.84 / n of them.

Images are what is drawn. One that changes does so by a part of what it could, so that n images count as
``n / size`` pairs, where `size` is the typical change of a changed image (of answers that change singly, 4 to an image,
1/4), taken as if one image more had changed as a whole: of few changes nobody knows whether they come together.
How often "no worse" is said of what is worse by just the margin is simulated in ``tests/bench/test_no_worse.py``.

That nothing got worse is claimed of all benchmarks together: every one has to be no worse, so that none is corrected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from mmpref.bench.changes import Changes, changes
from mmpref.bench.finished_model import FinishedModel, first_with
from mmpref.errors import UsageError
from mmpref.run.asked import Marks, every_mark, marked
from mmpref.run.results import LEVEL, Difference
from mmpref.run.results_text import NoWorse, decimals, fixed, no_worse_of

ANY = "*"
"""The margin of every benchmark that has none of its own."""
_NEAR = 1e-9
LEGEND = (
    "At worst: the bad end of the interval, or of the score interval (Tango 1998) where that reaches farther, as it "
    "does where few answers changed. No worse: that is less than the margin."
)


@dataclass(frozen=True)
class AgainstMargin:
    """A metric of a model, against the margin.

    Args:
        model: the column's name.
        margin: in the metric's units.
        at_worst: the end of the difference's interval where the second model is worse, in the metric's units; NaN
            where the metric is undefined.
        marks: what stands behind the verdict.
    """

    model: str
    difference: Difference
    margin: float
    at_worst: float
    verdict: NoWorse
    marks: Marks = ()

    def as_dict(self) -> dict[str, Any]:
        """As ``mmpref compare --json`` prints it."""
        row = self.difference.as_dict()
        estimate = {name: row[name] for name in ("value", "low", "high")}
        names = {"benchmark": self.difference.benchmark, "metric": self.difference.metric, "part": self.difference.part}
        at_worst = self.at_worst if math.isfinite(self.at_worst) else None
        return {
            **{**names, "model": self.model, **estimate},
            **{"at_worst": at_worst, "margin": self.margin, "verdict": self.verdict, "marks": self.marks},
        }


def against_margins(
    columns: Sequence[FinishedModel], tests: Sequence[Sequence[Difference | None]], margins: Mapping[str, float]
) -> tuple[AgainstMargin, ...]:
    """Of the headline metrics for which better is known.

    Args:
        columns: the models; each was tested against the first one that has the benchmark.
        tests: of each metric, one difference or None for each model.
        margins: by benchmark, and `ANY`.

    Raises:
        UsageError: a margin that is not above 0, of a benchmark that was not tested, or where nothing was.
    """
    if not margins:
        return ()
    tested = {test.benchmark for row in tests for test in row if test}
    if not tested:
        raise UsageError(
            "There is a margin, and no two models are tested against each other.",
            "Name runs that answered the same samples, or --baseline; arms have no margin.",
        )
    if unknown := sorted(set(margins) - tested - {ANY}):
        raise UsageError(
            f"There is a margin of {unknown[0]}, of which no two models are tested.",
            f"There are: {', '.join(sorted(tested))}.",
        )
    if any(not margin > 0 for margin in margins.values()):
        raise UsageError("A margin is a difference above 0.", "Say what makes no difference: --margin=0.01")
    return tuple(
        _against(columns, column, test, margin)
        for row in tests
        for column, test in zip(columns, row, strict=True)
        if test and test.headline and test.higher_is_better is not None
        if (margin := margins.get(test.benchmark, margins.get(ANY, 0.0)))
    )


def _against(columns: Sequence[FinishedModel], column: FinishedModel, test: Difference, margin: float) -> AgainstMargin:
    better = bool(test.higher_is_better)
    first = first_with(columns, test.benchmark)
    found = changes(first, column, test.key)
    low, high = widened(test.low, test.high, found) if found else (math.nan, math.nan)
    verdict = no_worse_of(low, high, better, margin) if test.tells else "cannot tell"
    marks = every_mark(model.marks(test.benchmark) for model in (first, column))
    return AgainstMargin(column.name, test, margin, low if better else high, verdict, marks)


def widened(low: float, high: float, found: Changes) -> tuple[float, float]:
    """A bootstrap interval, reaching as far as the score interval does."""
    score_low, score_high = score_interval(found)
    return min(low, score_low), max(high, score_high)


def score_interval(found: Changes) -> tuple[float, float]:
    """Tango's 95 % interval of a paired difference, of images that count as pairs as the module says; unbounded where
    nothing tells by how much an image could change."""
    from scipy import optimize, special

    if not found.whole > 0:
        return -math.inf, math.inf
    quantile = float(special.ndtri((1 + LEVEL) / 2))
    squares = found.squares / found.whole**2
    size = (squares + 1) / (math.sqrt(squares * found.changed) + 1)
    changed = squares / size**2
    pairs = max(found.images / size, changed)
    difference = pairs * found.mean / found.whole
    gained, lost = max(0.0, changed + difference) / 2, max(0.0, changed - difference) / 2
    value = (gained - lost) / pairs

    def beyond(difference: float, side: int) -> float:
        """How far the score of a true difference lies beyond the quantile on its side."""
        error = math.sqrt(_variance(gained, lost, pairs, difference))
        return side * (value - difference) - quantile * error

    def end(side: int) -> float:
        last = -side * (1 - _NEAR)
        first = value - side * _NEAR  # at the value itself the score is 0, and so may its error be
        if side * (first - last) <= 0 or beyond(last, side) <= 0:
            return last
        return float(optimize.brentq(beyond, last, first, (side,)))

    return found.whole * end(1), found.whole * end(-1)


def _variance(gained: float, lost: float, pairs: float, difference: float) -> float:
    """Of the observed difference of shares, were this the true one, by the likeliest share of pairs that change."""
    b = -2 * pairs * difference - (gained - lost) * difference - (gained + lost)
    root = b * b - 8 * pairs * gained * difference * (1 + difference)
    gains = (math.sqrt(max(0.0, root)) - b) / (4 * pairs)
    return max(0.0, 2 * gains - difference - difference**2) / pairs


def columns_and_rows(found: Sequence[AgainstMargin], names: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """As a table.

    Args:
        names: a column's name -> its letter, where there are several models.
    """
    several = len({row.model for row in found}) > 1
    rows = [
        [
            row.difference.key.name + (f" ({names[row.model]})" if several else ""),
            row.difference.text(signed=True),
            _signed(row.at_worst),
            f"{row.margin:g}",
            marked(row.verdict, row.marks),
        ]
        for row in found
    ]
    return ["benchmark", "difference", "at worst", "margin", "verdict"], rows


def _signed(number: float) -> str:
    if not math.isfinite(number):
        return "–"
    return f"{'+' if number > 0 else ''}{fixed(number, decimals(number))}"


def summary(found: Sequence[AgainstMargin]) -> str:
    """How many are what, and how many of these are marked, in one sentence."""
    parts = []
    for verdict in get_args(NoWorse):
        rows = [row for row in found if row.verdict == verdict]
        open_to_doubt = sum(bool(row.marks) for row in rows)
        parts.append(f"{verdict} {len(rows)}" + (f" ({open_to_doubt} marked)" if open_to_doubt else ""))
    return f"Of {len(found)}: {', '.join(parts)}."


def parse_margins(given: float | Mapping[str, float] | Sequence[str] | None) -> dict[str, float]:
    """Margins by benchmark: of a number for all, a mapping, or words such as ``0.01`` and ``pope=0.02``.

    Raises:
        UsageError: a word that is none of these.
    """
    if given is None:
        return {}
    if isinstance(given, int | float):
        return {ANY: float(given)}
    if isinstance(given, Mapping):
        return {name: float(margin) for name, margin in given.items()}
    margins = {}
    for word in [given] if isinstance(given, str) else given:
        name, _, number = word.rpartition("=")
        try:
            margins[name or ANY] = float(number)
        except ValueError:
            raise UsageError(f"--margin={word} is no margin.", "Write 0.01, or pope=0.01 of one benchmark.") from None
    return margins
