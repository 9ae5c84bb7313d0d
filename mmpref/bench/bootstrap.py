"""Intervals: percentile bootstrap over images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mmpref.rng import stream
from mmpref.run.results import LEVEL

if TYPE_CHECKING:
    import numpy as np

    from mmpref.bench.benchmark import CountKey, Metric, Score, Sums

RESAMPLES = 2000


class Interval(NamedTuple):
    """A value with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Clusters:
    """Sums of counts by image.

    Args:
        names: keys of the counts.
        sums: float64 [images, counts]; images in sorted order of their ids.
    """

    names: tuple[CountKey | str, ...]
    sums: np.ndarray
    _resampled: dict[int, Sums] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, image_ids: Sequence[str], scores: Sequence[Score], names: Iterable[CountKey | str] = ()) -> Clusters:
        """Add up the counts of scores by image.

        Args:
            names: keys of counts that are there whether or not a score has them.
        """
        import numpy as np

        names = tuple(sorted({*names, *(name for score in scores for name in score.counts)}, key=str))
        column = {name: i for i, name in enumerate(names)}
        row = {image_id: i for i, image_id in enumerate(sorted(set(image_ids)))}
        sums = np.zeros((len(row), len(names)))
        for image_id, score in zip(image_ids, scores, strict=True):
            for name, value in score.counts.items():
                sums[row[image_id], column[name]] += value
        return cls(names, sums)

    def resampled(self, seed: int) -> Sums:
        """Sums of each count in the data [0] and in every resample of images [1:]; resampled once for all metrics."""
        import numpy as np

        if seed in self._resampled:
            return self._resampled[seed]
        images = len(self.sums)
        if not images:
            return dict.fromkeys(self.names, np.zeros(1 + RESAMPLES))
        weights = stream(seed, "bootstrap", images).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
        totals = np.concatenate([self.sums.sum(0, keepdims=True), weights @ self.sums])
        self._resampled[seed] = {name: totals[:, i] for i, name in enumerate(self.names)}
        return self._resampled[seed]


def percentile_interval(values: np.ndarray) -> Interval:
    """From the value in the data [0] and in the resamples [1:]; those in which it is undefined are left out.
    NaN where it is undefined in the data."""
    import numpy as np

    if np.isnan(values[0]):
        return Interval(np.nan, np.nan, np.nan)
    defined = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(defined if len(defined) else values[:1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))


def replicates(clusters: Clusters, metric: Metric, seed: int) -> np.ndarray:
    """A metric in the data [0] and in every resample of images [1:]; NaN where there is nothing that it is over,
    such as in a resample without any of a small part. Those of two models on the same images are paired: the same seed
    draws the same."""
    import numpy as np

    sums = clusters.resampled(seed)
    values = np.asarray(metric.value(sums), float)
    return np.where(sums[metric.n] > 0, values, np.nan)
