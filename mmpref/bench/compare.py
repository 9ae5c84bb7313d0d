"""Evaluation runs side by side: a row for each metric, a column for each model, and what must not be compared.

Every column is tested against the first one that has the benchmark, where both were asked the same samples under the
same settings, on those that both have a score of (`mmpref.bench.paired`): by McNemar's exact test for binary metrics,
by the paired bootstrap else, and with Holm's correction over the headline metrics of all benchmarks and columns. Values
of different benchmarks are never averaged: they have different scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.bench.arms import ArmEffect, arm_effects
from mmpref.bench.finished_model import SETTINGS, FinishedModel, first_with, read_finished
from mmpref.bench.no_worse import ANY, AgainstMargin, against_margins
from mmpref.bench.significance import paired_difference, with_holm
from mmpref.run.asked import Marks, every_mark
from mmpref.run.results import BASE, Difference, Key, Value


@dataclass(frozen=True)
class Comparison:
    """Finished models side by side.

    Args:
        columns: the models, base models once for each run that scored them.
        rows: each metric with one value or None for each column.
        tests: for each row, one difference or None for each column; the first one with the benchmark has none.
        warnings: why numbers in one row may not be comparable, and which columns are not tested because of what is
            missing.
        missing: benchmark -> how many of its samples are missing in each column; None where it was not scored.
        no_worse: of the metrics that claims are made on, what can be said against the margin; none without one.
        arms: what several runs of one arm come to.
        has_baseline: whether the first column was named to be tested against.
    """

    columns: tuple[FinishedModel, ...]
    rows: tuple[tuple[Key, tuple[Value | None, ...]], ...]
    tests: tuple[tuple[Difference | None, ...], ...]
    warnings: tuple[str, ...]
    missing: Mapping[str, tuple[int | None, ...]]
    no_worse: tuple[AgainstMargin, ...] = ()
    arms: tuple[ArmEffect, ...] = ()
    has_baseline: bool = False

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def claims(self) -> int:
        """How many tests Holm's correction was over."""
        return sum(test is not None and test.p_holm is not None for tests in self.tests for test in tests)

    @property
    def untested_adapters(self) -> tuple[FinishedModel, ...]:
        """Adapters that are tested against the one base and so not against each other; none where nobody can miss it,
        as there is one adapter, or a baseline was asked for."""
        adapters = self.columns[1:]
        tested = [any(tests[place] for tests in self.tests) for place in range(1, len(self.columns))]
        one_base = [column.model == BASE for column in self.columns] == [True, *(False for _ in adapters)]
        return adapters if one_base and len(adapters) > 1 and all(tested) and not self.has_baseline else ()

    def marks(self, place: int, benchmark: str) -> Marks:
        """What stands behind the verdict on a column against the first one that has the benchmark."""
        both = first_with(self.columns, benchmark), self.columns[place]
        return every_mark(column.marks(benchmark) for column in both)

    def as_dict(self) -> dict[str, Any]:
        """As ``mmpref compare --json`` prints it."""
        return {
            "models": self.models,
            "rows": [(key, [value and value.as_dict() for value in values]) for key, values in self.rows],
            "tests": [
                [
                    test and {**_named(test), "marks": self.marks(place, test.benchmark)}
                    for place, test in enumerate(tests)
                ]
                for tests in self.tests
            ],
            "warnings": self.warnings,
            "missing": self.missing,
            **({"no_worse": [row.as_dict() for row in self.no_worse]} if self.no_worse else {}),
            **({"arms": [effect.as_dict() for effect in self.arms]} if self.arms else {}),
        }


def _named(test: Difference) -> dict[str, Any]:
    """What is printed of a difference, by name."""
    names = ("value", "low", "high", "p", "test", "p_holm", "first", "second", "images", "pairs", "lost", "is_form")
    row = test.as_dict()
    return {name: row[name] for name in names}


def compare(
    runs: Sequence[Path],
    *,
    baseline: FinishedModel | None = None,
    margins: Mapping[str, float] | None = None,
    arms: Mapping[str, Sequence[Path]] | None = None,
) -> Comparison:
    """Read finished evaluation runs.

    Args:
        baseline: what the others are tested against, in the place of the first column; where it is among the runs, or
            is the base of one, it stands once.
        margins: benchmark (``*``: any other) -> a difference of its metrics that makes none.
        arms: name -> several runs of one arm, as `mmpref.bench.arms` takes them.

    Raises:
        RunError: a directory is no finished run.
        InputError: a run of another command, or arms whose runs are none.
        UsageError: a margin of a benchmark that was not evaluated, or where nothing is tested.
    """
    read = read_finished(runs)
    columns = [baseline, *(one for one in read if not one.is_same_as(baseline))] if baseline else read
    keys = list(dict.fromkeys(key for column in columns for key in column.values))
    missing = {
        benchmark: tuple(column.missing(benchmark) for column in columns)
        for benchmark in dict.fromkeys(key.benchmark for key in keys)
    }
    tests = [[difference_of(first_with(columns, key.benchmark), column, key) for column in columns] for key in keys]
    corrected = iter(with_holm([test for row in tests for test in row if test]))
    final = tuple(tuple(test and next(corrected) for test in row) for row in tests)
    no_worse = against_margins(columns, final, margins or {})
    effects, warnings = arm_effects(arms or {})
    return Comparison(
        tuple(columns),
        tuple((key, tuple(column.values.get(key) for column in columns)) for key in keys),
        final,
        (*_warnings(columns, missing), *(_unsaid(columns, final, margins) if margins else ()), *warnings),
        missing,
        no_worse,
        effects,
        baseline is not None,
    )


def difference_of(first: FinishedModel, second: FinishedModel, key: Key) -> Difference | None:
    """What a second model changed of a metric, paired by image and not corrected for other tests.

    None for the first itself, and where the two were not asked the same samples under the same conditions, kept no
    resamples, or have results over different samples and the metric cannot be made of those that both have."""
    change = None if second is first else second.change_from(first, key)
    if change is None:
        return None
    value = second.values[key]
    return paired_difference(
        key,
        change,
        higher_is_better=value.higher_is_better,
        headline=value.headline,
        forms=(key in first.values and first.values[key].is_form, value.is_form),
    )


def _unsaid(
    columns: Sequence[FinishedModel], tests: Sequence[Sequence[Difference | None]], margins: Mapping[str, float]
) -> Iterator[str]:
    """One sentence for every benchmark of a column that has a margin and no test against the first."""
    tested = {(test.benchmark, place) for row in tests for place, test in enumerate(row) if test}
    for place, column in enumerate(columns):
        for benchmark in column.benchmarks:
            if benchmark not in margins and ANY not in margins:
                continue
            if column is not first_with(columns, benchmark) and (benchmark, place) not in tested:
                yield f"{benchmark}: {column.name} is not tested, so that nothing is said of it against the margin."


def _warnings(columns: Sequence[FinishedModel], missing: Mapping[str, Sequence[int | None]]) -> Iterator[str]:
    """One sentence for every benchmark whose data, settings, questions, rules or number of samples differ between
    columns, then one for every column that is not tested because of what is missing."""
    untested = {benchmark: [*_untested(columns, benchmark, counts)] for benchmark, counts in missing.items()}
    for benchmark, counts in missing.items():
        groups: dict[str, dict[Any, list[str]]] = {}
        for column, count in zip(columns, counts, strict=True):
            conditions = column.conditions(benchmark)
            if conditions and not column.records(benchmark):  # without them nothing is paired
                conditions["number of missing samples differs"] = count
            for what, value in conditions.items():
                groups.setdefault(what, {}).setdefault(value, []).append(column.name)
        for what, names in groups.items():
            if len(names) > 1:
                between = " and ".join(map(", ".join, names.values()))
                if what == SETTINGS and (unlike := _unlike_settings(columns, benchmark)):
                    what = f"{what} ({', '.join(unlike)})"
                yield f"{benchmark}: the {what} between {between}; do not compare these numbers."
        first = first_with(columns, benchmark)
        for column in columns:
            if column.conditions(benchmark) == first.conditions(benchmark):
                for what in column.rules_unlike(first, benchmark):
                    yield (
                        f"{benchmark}: the {what} between {first.name} and {column.name}; do not compare these numbers."
                    )
    for sentences in untested.values():
        yield from sentences


def _unlike_settings(columns: Sequence[FinishedModel], benchmark: str) -> list[str]:
    """Names of the settings that differ, and of the limit where that does, as far as all runs recorded theirs."""
    changed = [column.asked[benchmark].changed for column in columns if benchmark in column.asked]
    known = [settings for settings in changed if settings is not None]
    if len(known) < sum(benchmark in column.benchmarks for column in columns):
        return []
    names = sorted({name for settings in known for name in settings})
    absent = object()  # as published, whatever that is
    return [name for name in names if any(one.get(name, absent) != known[0].get(name, absent) for one in known)]


def _untested(columns: Sequence[FinishedModel], benchmark: str, counts: Sequence[int | None]) -> Iterator[str]:
    """One sentence for every column that is not tested because it lacks other samples than the first, and its metrics
    cannot be made of those that both have."""
    first = first_with(columns, benchmark)
    first_count = counts[columns.index(first)]
    for column, count in zip(columns, counts, strict=True):
        if column is not first and (reason := column.unpaired_because(first, benchmark)):
            yield (
                f"{benchmark}: samples are missing ({first_count} of {first.name}, {count} of {column.name}), and not "
                f"the same ones, so the two are not tested against each other: {reason}"
            )
