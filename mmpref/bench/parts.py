"""Benchmarks in parts, with counts and metrics of each part and of ``all``; and samples that count together in groups:
a pair of questions, or all about one figure, is right where every answer is.

The counts of a group stand at one of its samples: ``<kind>/right`` and ``<kind>/n``. A group with a missing sample is
missing as a whole.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set

from mmpref.bench.benchmark import NOTHING, CountKey, Metric, Sample, Score, rate
from mmpref.run.results import ALL
from mmpref.tables.table import Row, Table, numbered_rows


def part_counts(counts: Mapping[str, float], *parts: str) -> dict[CountKey | str, float]:
    """One sample's counts by name, for each of the parts that it is of."""
    return {CountKey(part, name): value for part in parts for name, value in counts.items()}


def parts_of(scores: Sequence[Score]) -> list[str]:
    """The parts that scores have counts of, sorted, but for ``all``."""
    return sorted({key.part for score in scores for key in score.counts if isinstance(key, CountKey)} - {ALL})


def part_rate(
    name: str,
    part: str,
    top: str,
    bottom: str = "n",
    higher_is_better: bool | None = True,
    *,
    scale: float = 1.0,
    binary: bool = False,
    headline: bool = False,
    empty: str = NOTHING,
) -> Metric:
    """As `rate`, of two counts of the metric's own part."""
    keys = CountKey(part, top), CountKey(part, bottom)
    return rate(name, part, *keys, higher_is_better, scale=scale, binary=binary, headline=headline, empty=empty)


def group_keys(kind: CountKey | str) -> tuple[CountKey, CountKey]:
    """The keys of two counts: how many groups of a kind are right, and how many there are.

    Args:
        kind: as the samples' ``groups`` have it: a part of the benchmark, or what is grouped in a part.
    """
    if isinstance(kind, str):
        return CountKey(kind, "right"), CountKey(kind, "n")
    return CountKey(kind.part, f"{kind.name}/right"), CountKey(kind.part, f"{kind.name}/n")


def groups_of(sample: Sample) -> dict[str, str]:
    """Which groups a sample belongs to, by what their counts' names begin with in files (``all/pair``)."""
    return {str(kind): name for kind, name in sample.groups.items()}


def with_group_counts(samples: Sequence[Sample], scores: Sequence[Score], *missing: Set[str]) -> list[Score]:
    """The scores with the counts of their samples' groups, in the place of those that they had.

    Args:
        missing: ids of samples that do not count; a group with one has its counts there, so that it does not either. Of
            several sets the first that has one of a group decides.
    """
    members: dict[tuple[CountKey | str, str], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        for group in sample.groups.items():
            members[group].append(index)
    counts: dict[int, dict[CountKey | str, float]] = defaultdict(dict)
    for (kind, _), indices in members.items():
        holder = next((index for ids in missing for index in indices if samples[index].id in ids), indices[0])
        right, n = group_keys(kind)
        counts[holder] |= {right: float(all(scores[index].right for index in indices)), n: 1.0}
    of_groups = {str(key) for kind, _ in members for key in group_keys(kind)}
    for index, score in enumerate(scores):
        counts[index] |= {key: count for key, count in score.counts.items() if str(key) not in of_groups}
    return [dataclasses.replace(score, counts=counts[index]) for index, score in enumerate(scores)]


def whole_groups(
    table: Table, limit: int | None, group: Callable[[Row, str], Hashable]
) -> Iterator[tuple[int, Row, str]]:
    """The first rows of a table, and all others of the groups that these begin, as `numbered_rows` gives them: of a
    part of a group nothing can be said.

    Args:
        group: of a row, and what errors call it.
    """
    begun: set[Hashable] = set()
    for number, row, where in numbered_rows(table, None):
        name = group(row, where)
        if limit is None or number < limit:
            begun.add(name)
        if name in begun:
            yield number, row, where


def group_rate(name: str, part: str, kind: CountKey | str, *, headline: bool = False) -> Metric:
    """The share of groups of a kind that are right."""
    metric = rate(name, part, *group_keys(kind), binary=True, headline=headline)
    return dataclasses.replace(metric, grouped=True)
