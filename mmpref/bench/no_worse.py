"""Non-inferiority: whether a model is no worse than another, up to a margin that makes no difference.

"No significant change" of a small test says nothing; "no worse than one point" is a claim. It is made where the 95 %
interval of the paired difference lies wholly on the good side of the margin (`mmpref.run.results_text.no_worse_of`).
That nothing got worse is claimed of all benchmarks together: every one has to be no worse, so that none is corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpref.errors import UsageError
from mmpref.run.results import Difference
from mmpref.run.results_text import NoWorse, no_worse_of

ANY = "*"
"""The margin of every benchmark that has none of its own."""


@dataclass(frozen=True)
class AgainstMargin:
    """A metric of a model, against the margin.

    Args:
        model: the column's name.
        margin: in the metric's units.
    """

    model: str
    difference: Difference
    margin: float
    verdict: NoWorse

    def as_dict(self) -> dict[str, Any]:
        """As ``mmpref compare --json`` prints it."""
        row = self.difference.as_dict()
        estimate = {name: row[name] for name in ("value", "low", "high")}
        names = {"benchmark": self.difference.benchmark, "metric": self.difference.metric, "part": self.difference.part}
        return {**names, "model": self.model, **estimate, "margin": self.margin, "verdict": self.verdict}


def against_margins(
    models: Sequence[str], tests: Sequence[Sequence[Difference | None]], margins: Mapping[str, float]
) -> tuple[AgainstMargin, ...]:
    """Of the headline metrics for which better is known.

    Args:
        tests: of each metric, one difference or None for each model.
        margins: by benchmark, and `ANY`.

    Raises:
        UsageError: a margin that is not above 0, of a benchmark that was not tested, or where nothing was.
    """
    tested = {test.benchmark for row in tests for test in row if test}
    if unknown := sorted(set(margins) - tested - {ANY}):
        raise UsageError(
            f"There is a margin of {unknown[0]}, of which no two models are tested.",
            f"There are: {', '.join(sorted(tested)) or 'none'}.",
        )
    if any(not margin > 0 for margin in margins.values()):
        raise UsageError("A margin is a difference above 0.", "Say what makes no difference: --margin=0.01")
    if margins and not tested:
        raise UsageError(
            "There is a margin, and no two models are tested against each other.",
            "Name runs that answered the same samples, or --baseline; arms have no margin.",
        )
    return tuple(
        AgainstMargin(
            model,
            test,
            margin,
            no_worse_of(test.low, test.high, test.higher_is_better, margin) if test.tells else "cannot tell",
        )
        for row in tests
        for model, test in zip(models, row, strict=True)
        if test and test.headline and test.higher_is_better is not None
        if (margin := margins.get(test.benchmark, margins.get(ANY, 0.0)))
    )


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
            f"{row.margin:g}",
            row.verdict,
        ]
        for row in found
    ]
    return ["benchmark", "difference", "margin", "verdict"], rows


def summary(found: Sequence[AgainstMargin]) -> str:
    """In one sentence."""
    counts = {verdict: sum(row.verdict == verdict for row in found) for verdict in ("no worse", "worse", "cannot tell")}
    return f"Of {len(found)}: " + ", ".join(f"{verdict} {count}" for verdict, count in counts.items()) + "."


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
