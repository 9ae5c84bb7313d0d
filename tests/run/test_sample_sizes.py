"""What intervals are over is said wherever they are, and where it is little."""

from __future__ import annotations

import pytest

from mmpref.run.results import Results, Value
from mmpref.run.sample_sizes import intervals_over


def _value(benchmark: str, n: int, images: int, unit: str = "images") -> Value:
    row = {"model": "base", "benchmark": benchmark, "split": "all", "metric": "m", "value": 0.5, "n": n}
    return Value.from_dict({**row, "images": images, "unit": unit})


@pytest.mark.parametrize(
    ("images", "warning"), [(30, ""), (29, " Over fewer than 30 (chair) an interval is not to be relied on.")]
)
def test_images_are_counted_not_what_a_metric_is_over(images: int, warning: str) -> None:
    values = [_value("chair", 296, 3), _value("chair", 30, images), _value("mmvp", 300, 150, "pairs of images")]
    drawn = f"chair {images} images, mmvp 150 pairs of images."
    text = f"Intervals are over images, each drawn with all that was asked about it: {drawn}{warning}"
    assert intervals_over(values) == text
    kept = Results.from_dict(Results({}, tuple(values)).as_dict())
    assert [(value.images, value.unit) for value in kept.values] == [(value.images, value.unit) for value in values]


def test_runs_of_before_say_nothing() -> None:
    assert intervals_over([_value("chair", 296, 0)]) == ""
