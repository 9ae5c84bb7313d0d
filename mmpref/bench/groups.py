"""Samples that count together: a pair of questions, or all about one figure, is right where every answer is.

The counts of a group stand at one of its samples: ``<name>/right`` and ``<name>/n``. A group with a missing sample is
missing as a whole.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence, Set

from mmpref.bench.benchmark import Metric, Sample, Score, rate


def counted(samples: Sequence[Sample], scores: Sequence[Score], missing: Set[str]) -> list[Score]:
    """The scores with the counts of their samples' groups.

    Args:
        missing: ids of samples without an answer; a group with one has its counts there, so that it is missing too.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        for group in sample.groups.items():
            members[group].append(index)
    made: dict[int, dict[str, float]] = defaultdict(dict)
    for (name, _), indices in members.items():
        holder = next((index for index in indices if samples[index].id in missing), indices[0])
        right = all(scores[index].right for index in indices)
        made[holder] |= {f"{name}/right": float(right), f"{name}/n": 1.0}
    return [
        dataclasses.replace(score, counts={**score.counts, **made[index]}) if index in made else score
        for index, score in enumerate(scores)
    ]


def group_rate(name: str, part: str, group: str, *, headline: bool = False) -> Metric:
    """The share of groups that are right."""
    return rate(name, part, f"{group}/right", f"{group}/n", binary=True, headline=headline)
