"""p-values of paired differences, and their correction where several are looked at.

Binary metrics: McNemar's exact test, by image. Where an image has one question it is McNemar's; where it has several,
whose answers hang together, the signs of whole images are exchanged instead of those of questions. Other metrics: the
paired bootstrap over images that their intervals are from. All are two-sided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def mcnemar(differences: Sequence[float]) -> float:
    """The share of all ways to swap the two models' answers, image by image, that lie as far apart as the data.

    Args:
        differences: of each image, right answers of the second model minus those of the first; whole numbers.
    """
    import numpy as np

    sizes = Counter(abs(round(difference)) for difference in differences)
    del sizes[0]
    total = sum(size * images for size, images in sizes.items())
    chances = np.ones(1)  # of the sum of those differences that fall to the second model's side
    for size, images in sorted(sizes.items()):
        sides = np.zeros(size * images + 1)
        sides[::size] = [math.comb(images, k) / 2**images for k in range(images + 1)]
        chances = np.convolve(chances, sides)
    apart = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chances[apart >= abs(round(sum(differences)))].sum()))


def bootstrap_p(moved: np.ndarray) -> float:
    """From the paired difference in the data [0] and in the resamples [1:]: twice the share of resamples on the other
    side of zero, which is never less than one in all of them. Those in which it is undefined are left out."""
    drawn = moved[1:][moved[1:] == moved[1:]]
    if not drawn.any():
        return 1.0
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): the chance of any false claim among them stays below the level."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def mark(p: float | None) -> str:
    """One to three stars: below 0.05, 0.01 and 0.001."""
    return next((stars for level, stars in MARKS if p is not None and p < level), "")
