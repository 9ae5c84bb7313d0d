"""Evaluation runs side by side: a row for each metric, a column for each model, and what must not be compared.

Every column is tested against the first one that has the benchmark, where both answered the same samples under the same
settings: by McNemar's exact test for binary metrics, by the paired bootstrap else, and with Holm's correction over the
headline metrics of all benchmarks and columns. Values of different benchmarks are never averaged: they have different
scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.bench.bootstrap import interval
from mmpref.bench.finished import Column, Key, read_columns, reference
from mmpref.bench.significance import bootstrap_p, holm, mcnemar


@dataclass(frozen=True)
class Tested:
    """A column against the first one that has the benchmark.

    Args:
        value, low, high: the difference, with its paired 95 % interval.
        test: ``McNemar`` or ``bootstrap``.
        p_holm: corrected, of a headline metric; else None.
    """

    value: float
    low: float
    high: float
    p: float
    test: str
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Args:
    models: column names, base models once for each run that scored them.
    rows: (benchmark, metric, part) with one result or None for each column.
    tests: for each row, one test or None for each column; the first one with the benchmark has none.
    warnings: why numbers in one row may not be comparable, and which columns are not tested because of what is missing.
    missing: benchmark -> how many of its samples are missing in each column; None where it was not scored.
    """

    models: tuple[str, ...]
    rows: tuple[tuple[Key, tuple[dict[str, Any] | None, ...]], ...]
    tests: tuple[tuple[Tested | None, ...], ...]
    warnings: tuple[str, ...]
    missing: dict[str, tuple[int | None, ...]] = field(default_factory=dict)


def compare(runs: Sequence[Path]) -> Comparison:
    """Read finished evaluation runs.

    Raises:
        RunError: a directory is no finished run.
        InputError: a run of another command.
    """
    columns = read_columns(runs)
    keys = list(dict.fromkeys(key for column in columns for key in column.found))
    rows = tuple((key, tuple(column.found.get(key) for column in columns)) for key in keys)
    tests = [tuple(_tested(reference(columns, key[0]), column, key) for column in columns) for key in keys]
    missing = {
        name: tuple(column.missing(name) for column in columns) for name in dict.fromkeys(key[0] for key in keys)
    }
    return Comparison(
        tuple(column.name for column in columns),
        rows,
        _corrected(keys, columns, tests),
        (*_warnings(columns), *_untested(columns, missing)),
        missing,
    )


def _untested(columns: Sequence[Column], missing: Mapping[str, Sequence[int | None]]) -> Iterator[str]:
    """One sentence for every column that is not tested because it lacks other samples than the first."""
    for benchmark, counts in missing.items():
        first = reference(columns, benchmark)
        lost = counts[columns.index(first)]
        for column, count in zip(columns, counts, strict=True):
            alike = column.conditions(benchmark) == first.conditions(benchmark)
            if column is not first and alike and column.lacks_others_than(first, benchmark):
                yield (
                    f"{benchmark}: samples are missing ({lost} of {first.name}, {count} of {column.name}), and not the "
                    "same ones, so the two are not tested against each other."
                )


def _tested(first: Column, second: Column, key: Key) -> Tested | None:
    """None for the first itself, and where the two have not answered the same samples under the same conditions or
    kept no resamples."""
    if second is first or not first.pairs_with(second, key[0]):
        return None
    one, two = first.resamples.get(key), second.resamples.get(key)
    if one is None or two is None or one.shape != two.shape:
        return None
    change = two - one
    found = first.found[key]
    if found.get("binary"):
        wins = second.by_image(key[0], found["of"][0])
        differences = [wins[image] - right for image, right in first.by_image(key[0], found["of"][0]).items()]
        p, test = mcnemar(differences), "McNemar"
    else:
        p, test = bootstrap_p(change), "bootstrap"
    moved = interval(change)
    return Tested(moved.value, moved.low, moved.high, p, test)


def _corrected(
    keys: Sequence[Key], columns: Sequence[Column], tests: Sequence[tuple[Tested | None, ...]]
) -> tuple[tuple[Tested | None, ...], ...]:
    claims = [
        (row, column)
        for row, key in enumerate(keys)
        for column, test in enumerate(tests[row])
        if test is not None and columns[column].found[key].get("headline")
    ]
    corrected = dict(zip(claims, holm([_p(tests[row][column]) for row, column in claims]), strict=True))
    return tuple(
        tuple(
            test and Tested(test.value, test.low, test.high, test.p, test.test, corrected.get((row, column)))
            for column, test in enumerate(line)
        )
        for row, line in enumerate(tests)
    )


def _p(test: Tested | None) -> float:
    assert test is not None
    return test.p


def _warnings(columns: Sequence[Column]) -> list[str]:
    """One sentence for every benchmark whose data, settings or number of samples differ between columns."""
    warnings = []
    for benchmark in dict.fromkeys(key[0] for column in columns for key in column.found):
        seen: dict[str, dict[Any, list[str]]] = {}
        for column in columns:
            known = column.conditions(benchmark)
            lost = {"number of missing samples differs": column.missing(benchmark)} if known else {}
            for what, value in {**known, **lost}.items():
                seen.setdefault(what, {}).setdefault(value, []).append(column.name)
        for what, values in seen.items():
            if len(values) > 1:
                groups = " and ".join(", ".join(names) for names in values.values())
                warnings.append(f"{benchmark}: the {what} between {groups}; do not compare these numbers.")
    return warnings
