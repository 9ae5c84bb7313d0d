"""On which samples two models are compared, and what the second one changed there.

One rule for the two models of a run and for those of several: a sample is a *pair* where both have a score of it, and
values, difference, interval and test are all over the pairs. A score that one model has alone says nothing of the
other. A metric of groups, samples that count together (`mmpref.bench.parts`), loses each group that lacks one; other
metrics lose no more than that sample. Where few pairs are lost that is a fair test; where many are
(`mmpref.run.results_text.too_few_pairs`), which are left may hang on the answers themselves, and no verdict is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mmpref.bench.benchmark import Metric
from mmpref.bench.bootstrap import Clusters, replicates

if TYPE_CHECKING:
    import numpy as np


class Scored(Protocol):
    """A sample of one model, as runs and their records have it."""

    @property
    def id(self) -> str: ...
    @property
    def image_id(self) -> str: ...
    @property
    def answered(self) -> bool:
        """Whether the model replied at all: nobody does to an image that cannot be read."""
        ...

    @property
    def missing(self) -> bool:
        """Whether it has no score."""
        ...

    @property
    def groups(self) -> Mapping[str, str]:
        """Of each kind of groups (``all/pair``), which one it belongs to (`mmpref.bench.parts.groups_of`)."""
        ...


class Row(NamedTuple):
    """The plainest `Scored`."""

    id: str
    image_id: str
    answered: bool
    missing: bool
    groups: Mapping[str, str] = {}


@dataclass(frozen=True)
class Pairs:
    """The samples that two models are compared on.

    Args:
        kept: their ids.
        lost: how many others a model replied to.
    """

    kept: frozenset[str]
    lost: int


def scored_by_both(first: Sequence[Scored], second: Sequence[Scored]) -> frozenset[str]:
    """Ids of the samples that two models have a score of, of the same ones in the same order."""
    both = zip(first, second, strict=True)
    return frozenset(one.id for one, other in both if not (one.missing or other.missing))


def pairs_of(first: Sequence[Scored], second: Sequence[Scored], kept: frozenset[str], over: str = "") -> Pairs:
    """The pairs of a metric.

    Args:
        kept: ids of the samples that results are over.
        over: the count that says over how many (`Metric.n`): where it is of groups, those that lack one of their
            samples are no pairs. They are lost where a model replied to the one that they lack.
    """
    kind = over.removesuffix("/n")
    tried = [one for one, other in zip(first, second, strict=True) if one.answered or other.answered]

    def broken(samples: Sequence[Scored]) -> set[str]:
        return {one.groups[kind] for one in samples if kind in one.groups and one.id not in kept}

    lacking, lost = broken(first), broken(tried)
    whole = kept - {one.id for one in tried if one.groups.get(kind) in lacking}
    return Pairs(whole, sum(one.id not in kept or one.groups.get(kind) in lost for one in tried))


@dataclass(frozen=True)
class Change:
    """A metric of two models on their pairs.

    Args:
        first, second: float64 [1 + resamples]: in the data [0] and in resamples of images [1:].
        gains: of a binary metric, right answers of the second model minus those of the first, by image.
        images: how many the pairs lie on.
        changed: on how many of these the counts that the metric is made of differ: all counts, where it is no quotient
            of two.
    """

    first: np.ndarray
    second: np.ndarray
    gains: Sequence[float] | None
    images: int
    changed: int
    pairs: Pairs

    @property
    def difference(self) -> np.ndarray:
        """float64 [1 + resamples]: second minus first."""
        difference: np.ndarray = self.second - self.first
        return difference


def change_of(metric: Metric, first: Clusters, second: Clusters, pairs: Pairs, seed: int) -> Change:
    """From the sums of both models over the images of their pairs.

    Raises:
        ValueError: they are not over the same images.
    """
    if first.sums.shape[0] != second.sums.shape[0]:
        raise ValueError("A paired difference needs the same images.")
    gains = None
    if metric.binary and metric.of:
        right = [side.sums[:, side.names.index(metric.of[0])] for side in (first, second)]
        gains = (right[1] - right[0]).tolist()
    values = [replicates(side, metric, seed) for side in (first, second)]
    return Change(values[0], values[1], gains, len(first.sums), _changed(metric, first, second), pairs)


def _changed(metric: Metric, first: Clusters, second: Clusters) -> int:
    """On how many images."""
    import numpy as np

    places = [{name: place for place, name in enumerate(side.names)} for side in (first, second)]
    nothing, differ = np.zeros(len(first.sums)), np.zeros(len(first.sums), bool)
    for name in metric.of or dict.fromkeys((*first.names, *second.names)):
        before, after = (
            side.sums[:, place[name]] if name in place else nothing
            for side, place in zip((first, second), places, strict=True)
        )
        differ |= before != after
    return int(differ.sum())
