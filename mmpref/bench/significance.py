"""p-values of paired differences, and their correction where several are looked at.

Binary metrics: McNemar's exact test, by image. Where an image has one question it is McNemar's; where it has several,
whose answers hang together, the signs of whole images are exchanged instead of those of questions. Other metrics: the
paired bootstrap over images that their intervals are from, which by itself makes too much of few images: of one all its
resamples are alike. So its p is never below that of exchanging the two models' answers on every image that changed. All
are two-sided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mmpref.bench.bootstrap import percentile_interval
from mmpref.bench.paired import Change
from mmpref.run.results import Difference, Key
from mmpref.run.results_text import direction_of

if TYPE_CHECKING:
    import numpy as np


def mcnemar(differences: Sequence[float]) -> float:
    """The share of all ways to swap the two models' answers, image by image, that lie as far apart as the data.

    Args:
        differences: of each image, right answers of the second model minus those of the first; whole numbers, or
            halves, where a tie is half right.
    """
    import numpy as np

    halves = [round(2 * difference) for difference in differences]
    sizes = Counter(map(abs, halves))
    del sizes[0]
    total = sum(size * images for size, images in sizes.items())
    chances = np.ones(1)  # of the sum of those differences that fall to the second model's side
    for size, images in sorted(sizes.items()):
        sides = np.zeros(size * images + 1)
        sides[::size] = [math.comb(images, k) / 2**images for k in range(images + 1)]
        chances = np.convolve(chances, sides)
    apart = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chances[apart >= abs(sum(halves))].sum()))


def exchange_p(changed: int) -> float:
    """The smallest p of any test that exchanges two models' answers image by image: where so many images changed, the
    data and their mirror image are two of 2^changed ways."""
    return float(min(1.0, 2.0 ** (1 - changed)))


def bootstrap_p(difference: np.ndarray, changed: int) -> float:
    """From the paired difference in the data [0] and in the resamples [1:]: twice the share of resamples on the other
    side of zero, which is never less than one in all of them. Those in which it is undefined are left out.

    Args:
        changed: on how many images anything did; it is not below the `exchange_p` of these.
    """
    defined = difference[1:][difference[1:] == difference[1:]]
    if not defined.any():
        return 1.0
    beyond = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return max(exchange_p(changed), min(1.0, 2 * (beyond + 1) / (len(defined) + 1)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): the chance of any false claim among them stays below the level."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def paired_difference(
    key: Key,
    change: Change,
    *,
    higher_is_better: bool | None,
    headline: bool,
    forms: tuple[bool, bool] = (False, False),
) -> Difference:
    """The difference of a second model from a first one, with its interval and its test; `with_holm` corrects that.

    Args:
        forms: of each model, whether most of its answers could not be read (`Value.is_form`). A second model that has
            lost the form that the first one has is worse, where the metric says so.

    Where either model's metric is undefined nothing is tested: there is no p-value, and no part in a correction.
    """
    difference, gains = change.difference, change.gains
    interval = percentile_interval(difference)
    lost_form = forms == (False, True) and direction_of(interval.low, interval.high, higher_is_better) == "worse"
    tested = not math.isnan(difference[0])
    return Difference(
        **key._asdict(),
        **interval._asdict(),
        higher_is_better=higher_is_better,
        headline=headline,
        p=None if not tested else bootstrap_p(difference, change.changed) if gains is None else mcnemar(gains),
        test=None if not tested else "bootstrap" if gains is None else "McNemar",
        first=float(change.first[0]),
        second=float(change.second[0]),
        images=change.images,
        pairs=len(change.pairs.kept),
        lost=change.pairs.lost,
        is_form=any(forms) and not lost_form,
    )


def with_holm(differences: Sequence[Difference]) -> list[Difference]:
    """With ``p_holm`` where claims are made (`Difference.tells`): one family over all benchmarks."""
    claims = {index: row.p for index, row in enumerate(differences) if row.headline and row.p is not None and row.tells}
    corrected = dict(zip(claims, holm([*claims.values()]), strict=True))
    return [replace(row, p_holm=corrected.get(index)) for index, row in enumerate(differences)]
