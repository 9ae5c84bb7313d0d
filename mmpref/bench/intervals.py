"""A mean effect with its interval, where units (base models, or training seeds) and images are both random.

What is estimated is the mean over all units that might have been drawn, and over all images. Two intervals are made,
and what is reported reaches from the lower of their lower ends to the higher of their upper ends:

* the two-way bootstrap: units and images are drawn anew, one draw of images for all units (Owen's pigeonhole
  bootstrap, 2007, which is if anything too wide). Of few units it is too narrow: of three, which differ much, 95 %
  become 80 to 90;
* a t interval whose variance is that of the unit means plus that of the image bootstrap with the units as they are.
  What is of single units and images alone is in both parts, so it is rather too wide; degrees of freedom are
  Satterthwaite's. A t interval over unit means alone would not see what an image does in all units alike.

How often the result holds the truth of all units, in 1,000 simulated studies of each of four mixtures of what varies
(``_coverage`` of ``tests/bench/test_intervals.py``, ``worlds=1000``): .94 to 1.00 with three or five units, .90 to .99
with two, where the least is of units that are nearly all that varies. With one unit the interval is over images alone
(.95 of what that unit is) and says nothing of another unit (.45, where units differ much).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpref.bench.bootstrap import RESAMPLES
from mmpref.bench.significance import exchange_p
from mmpref.rng import stream
from mmpref.run.results import LEVEL

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over units.

    Args:
        value, low, high: the mean with its interval; NaN where it is undefined.
        of_units: the mean of each unit.
        error: standard error behind the t interval.
        freedom: its degrees of freedom.
        resampled: float64 [resamples], of the two-way bootstrap; those in which it is undefined are left out.
        changed: of a difference, on how many images anything did in some unit; None of a value.
    """

    value: float
    low: float
    high: float
    of_units: tuple[float, ...]
    error: float
    freedom: float
    resampled: np.ndarray = field(repr=False, compare=False)
    changed: int | None = None

    @property
    def least_p(self) -> float:
        """What no p-value of "the mean is above 0" or "below 0" can be below (`exchange_p`)."""
        return 0.0 if self.changed is None else exchange_p(self.changed)

    @property
    def off_zero(self) -> bool:
        """Whether the interval excludes 0, and so many images changed that this is evidence."""
        return (self.low > 0 or self.high < 0) and self.least_p < 1 - LEVEL

    def p_above(self, threshold: float) -> float:
        """Two-sided p-value of "the mean is above the threshold": of the two ways the larger. It is below 0.05 where
        the interval lies wholly above the threshold; of 0 it is at least `least_p`."""
        return self._p(threshold, 1)

    def p_below(self, threshold: float) -> float:
        """As `p_above`, of "the mean is below the threshold"."""
        return self._p(threshold, -1)

    def _p(self, threshold: float, side: int) -> float:
        from scipy import special

        if not len(self.resampled):
            return 1.0
        ahead = side * (self.value - threshold)
        beyond = int((side * (self.resampled - threshold) <= 0).sum())
        bootstrap = max(beyond, 1) / (len(self.resampled) + 1)  # 50 beyond of 2,000 is where the interval begins
        exact = 0.0 if ahead > 0 else 1.0
        tail = float(special.stdtr(self.freedom, -ahead / self.error)) if self.error > 0 else exact
        return max(0.0 if threshold else self.least_p, min(1.0, 2 * max(bootstrap, tail)))


def estimate(units: np.ndarray, seed: int, changed: int | None = None) -> Estimate:
    """The mean over units, with its interval.

    Args:
        units: float64 [units, 1 + R]: of each unit the effect on all images, then in each resample of the images, the
            same resamples in every unit; NaN where it is undefined.
        seed: of the draw of units.
        changed: of a difference, on how many images anything did in some unit.
    """
    import numpy as np
    from scipy import special

    count, images = len(units), units[:, 1:]
    value = float(units[:, 0].mean())
    drawn = stream(seed, "units", count).multinomial(count, np.full(count, 1 / count), size=images.shape[1]) / count
    resampled = np.einsum("ru,ur->r", drawn, images)
    defined = ~np.isnan(images).any(0)
    resampled, over_images = resampled[defined], images.mean(0)[defined]
    of_units = tuple(float(unit) for unit in units[:, 0])
    if np.isnan(value) or len(resampled) < 2:
        return Estimate(value, value, value, of_units, 0.0, 1.0, resampled[:0], changed)
    of_images = float(over_images.var(ddof=1))
    between = float(units[:, 0].var(ddof=1)) / count if count > 1 else 0.0
    error = (of_images + between) ** 0.5
    freedom = (of_images + between) ** 2 / (between**2 / (count - 1)) if between > 0 else np.inf
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(resampled, ends)
    t_low, t_high = value + error * special.stdtrit(freedom, ends)
    return Estimate(
        value,
        min(float(low), float(t_low)),
        max(float(high), float(t_high)),
        of_units,
        error,
        float(freedom),
        resampled,
        changed,
    )


def image_draws(seed: int, images: int) -> np.ndarray:
    """int64 [1 + R, images]: how often each image is drawn; once each in the first, which is the data."""
    import numpy as np

    draws = stream(seed, "bootstrap", images).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.concatenate([np.ones((1, images), draws.dtype), draws])
