"""How much of a metric changed from one model to another, image by image: what an interval of few changes rests on.

A bootstrap interval knows only what was seen. Where no image changed it is one point, and where one did it takes that
one for typical. What a plan (`mmpref.bench.power`) and a margin (`mmpref.bench.no_worse`) need to know beside it is on
how many images anything changed, and how much such an image changes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmpref.bench.finished_model import FinishedModel
from mmpref.run.results import Key, Value

Sums = Mapping[str, Mapping[str, float]]
"""Image -> count -> its sum over the image's samples."""


@dataclass(frozen=True)
class Changes:
    """Of a metric, from a first model to a second one.

    Args:
        images: how many the pairs lie on (`mmpref.bench.paired`).
        changed: on how many the counts that the metric is made of differ.
        mean: second minus first, in the metric's units.
        variance: of one image's share in it, in the metric's units squared: ``images`` times that of the resamples.
        whole: by how much one image's share could differ, in the metric's units; 0 where nothing tells.
        samples: of these images, which the metric is over; ``samples_changed``: whose counts differ.
    """

    images: int
    changed: int
    mean: float
    variance: float
    whole: float
    samples: int = 0
    samples_changed: int = 0

    @property
    def squares(self) -> float:
        """Sum over images of the squared change."""
        return self.images * (self.variance + self.mean**2)


def changes(first: FinishedModel, second: FinishedModel, key: Key) -> Changes | None:
    """From one model to another; None where they do not pair, or the metric is undefined."""
    change = second.change_from(first, key)
    if change is None or math.isnan(change.difference[0]):
        return None
    values = [model.values[key] for model in (first, second)]
    counts = [
        [
            (one.image_id, _counts(one.counts, value))
            for one in model.records(key.benchmark)
            if one.id in change.pairs.kept
        ]
        for model, value in zip((first, second), values, strict=True)
    ]
    sums = [_by_image(rows) for rows in counts]
    differing = [before != after for (_, before), (_, after) in zip(*counts, strict=True) if before or after]
    return Changes(
        change.images,
        change.changed,
        float(change.difference[0]),
        variance_of_one(change.difference, change.images),
        _whole(values, sums),
        len(differing),
        sum(differing),
    )


def unlike_most(model: FinishedModel, key: Key) -> int:
    """On how many images a model's metric has other counts than on most."""
    value = model.values[key]
    counted = [(one.image_id, _counts(one.counts, value)) for one in model.records(key.benchmark) if one.counted]
    rows = Counter(tuple(sorted(sums.items())) for sums in _by_image(counted).values())
    return rows.total() - max(rows.values(), default=0)


def variance_of_one(resamples: object, images: int) -> float:
    """Of one image's share in a number, from its resamples [1:]; NaN where it is defined in fewer than two."""
    import numpy as np

    values = np.asarray(resamples)[1:]
    defined = values[~np.isnan(values)]
    return images * float(defined.var()) if len(defined) > 1 else math.nan


def _counts(counts: Mapping[str, float], value: Value) -> Mapping[str, float]:
    """Those that the metric is made of: all of them, where it is no quotient of two."""
    return {name: counts[name] for name in value.of if name in counts} if value.of else counts


def _by_image(rows: Iterable[tuple[str, Mapping[str, float]]]) -> Sums:
    sums: dict[str, dict[str, float]] = {}
    for image, counts in rows:
        own = sums.setdefault(image, {})
        for name, count in counts.items():
            own[name] = own.get(name, 0.0) + count
    return sums


def _whole(values: list[Value], sums: list[Sums]) -> float:
    """Of shares of right answers 1, of other quotients what the images' own values reach over, 0 included, of what is
    no quotient its value; times how much heavier than the mean image one is that changes."""
    of = values[0].of
    if of is None:
        return max(abs(value.value) for value in values)
    rows = [(row.get(of[0], 0.0), row.get(of[1], 0.0)) for side in sums for row in side.values()]
    over = [n for _, n in rows if n > 0]
    if not over:
        return 0.0
    heavier = sum(n * n for n in over) * len(rows) / sum(over) ** 2
    if values[0].binary:
        return heavier
    scale = next(
        (abs(value.value) / ratio for value, side in zip(values, sums, strict=True) if (ratio := _ratio(side, of))), 0.0
    )
    each = [top / n for top, n in rows if n > 0]
    return scale * (max(0.0, *each) - min(0.0, *each)) * heavier


def _ratio(sums: Sums, of: tuple[str, str]) -> float:
    top, bottom = (sum(row.get(name, 0.0) for row in sums.values()) for name in of)
    return abs(top / bottom) if bottom else 0.0
