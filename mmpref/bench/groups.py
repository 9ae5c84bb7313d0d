"""Samples that count together: a pair of questions, or all about one figure, is right where every answer is.

The counts of a group stand at one of its samples: ``<kind>/right`` and ``<kind>/n``. A group with a missing sample is
missing as a whole.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence, Set

from mmpref.bench.benchmark import CountKey, Metric, Sample, Score, rate


def group_keys(kind: CountKey | str) -> tuple[CountKey, CountKey]:
    """The keys of two counts: how many groups of a kind are right, and how many there are.

    Args:
        kind: as the samples' ``groups`` have it: a part of the benchmark, or what is grouped in a part.
    """
    if isinstance(kind, str):
        return CountKey(kind, "right"), CountKey(kind, "n")
    return CountKey(kind.part, f"{kind.name}/right"), CountKey(kind.part, f"{kind.name}/n")


def with_group_counts(samples: Sequence[Sample], scores: Sequence[Score], missing: Set[str]) -> list[Score]:
    """The scores with the counts of their samples' groups.

    Args:
        missing: ids of samples without an answer; a group with one has its counts there, so that it is missing too.
    """
    members: dict[tuple[CountKey | str, str], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        for group in sample.groups.items():
            members[group].append(index)
    counts: dict[int, dict[CountKey | str, float]] = defaultdict(dict)
    for (kind, _), indices in members.items():
        holder = next((index for index in indices if samples[index].id in missing), indices[0])
        right, n = group_keys(kind)
        counts[holder] |= {right: float(all(scores[index].right for index in indices)), n: 1.0}
    for index, score in enumerate(scores):
        counts[index].update(score.counts)
    return [dataclasses.replace(score, counts=counts[index]) for index, score in enumerate(scores)]


def group_rate(name: str, part: str, kind: CountKey | str, *, headline: bool = False) -> Metric:
    """The share of groups of a kind that are right."""
    return rate(name, part, *group_keys(kind), binary=True, headline=headline)
