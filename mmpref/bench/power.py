"""How many images a comparison needs, before it is run: the power of a paired difference.

Two models answer on the same images; the difference of a metric has variance ``v / images``, where v is that of one
image. It is "seen" where its 95 % interval excludes 0, and a model is shown to be *no worse* than a margin where the
interval lies wholly above it. Both take the same number of images, by the normal approximation: a true difference of d
is seen with the power asked for from

    images = (z(97.5 %) + z(power))^2 v / d^2

on, and so many show of a model that changes nothing that it is no worse than d. v comes from the resamples of a former
evaluation, which know how much an image's questions hang together, or from assumed rates of one question an image
(McNemar's test: v is the share of answers that become right or wrong; Connor, Biometrics 43, 1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpref.bench.benchmark import BENCHMARKS, Benchmark
from mmpref.bench.finished_model import first_with, headlines, read_finished
from mmpref.errors import InputError, UsageError
from mmpref.log import logger
from mmpref.run.results import LEVEL, Key

POWER = 0.8
"""The chance that a true difference is seen, where none is asked for."""


@dataclass(frozen=True)
class Spread:
    """How much one image says of a metric's difference.

    Args:
        key: the metric; None of assumed rates.
        of: which models, for readers.
        variance: of one image's share in the difference, in the metric's units squared.
        images: how many it was found on; 0 where it was assumed.
        unit: what is counted, where a benchmark's questions hang together by more than an image
            (`mmpref.bench.benchmark.Benchmark`): all numbers of images are then of these.
        bound: it takes two models as unrelated on an image; pairs that agree more need fewer images.
    """

    key: Key | None
    of: str
    variance: float
    images: int = 0
    bound: bool = False
    unit: str = "images"


def images_needed(variance: float, difference: float, power: float = POWER) -> int:
    """From how many images on a true difference of this size is seen."""
    return max(2, math.ceil(_z(power) ** 2 * variance / difference**2))


def smallest_difference(variance: float, images: int, power: float = POWER) -> float:
    """The smallest true difference that so many images see."""
    return _z(power) * math.sqrt(variance / images)


def power_of(variance: float, images: int, difference: float) -> float:
    """The chance that so many images see a true difference of this size."""
    from scipy import special

    if not variance:
        return 1.0
    return float(special.ndtr(abs(difference) / math.sqrt(variance / images) - special.ndtri((1 + LEVEL) / 2)))


def _z(power: float) -> float:
    from scipy import special

    return float(special.ndtri((1 + LEVEL) / 2) + special.ndtri(power))


def assumed(rate: float, changed: float | None = None, difference: float = 0.0) -> Spread:
    """Of right answers, one question an image.

    Args:
        rate: the share of right answers, of both models about.
        changed: the share of answers that are right of one model alone; by default that of two models which know
            nothing of each other, which is more than an adapter and its base have.
        difference: that is to be seen.

    Raises:
        UsageError: no shares, more changed than can be, or a difference of more answers than change.
    """
    most = 2 * min(rate, 1 - rate)
    if not 0 < rate < 1 or not (changed is None or 0 < changed <= most):
        raise UsageError(
            f"Of answers of which {rate:g} are right, {2 * rate * (1 - rate) if changed is None else changed:g} cannot "
            "be right of one model alone.",
            f"Use a --rate above 0 and below 1, and at most twice the rarer kind of answers for --changed ({most:g}).",
        )
    unrelated = 2 * rate * (1 - rate)
    if difference > (most := unrelated if changed is None else changed):
        raise UsageError(
            f"Where {most:.3g} of the answers change, no difference can be {difference:g}.",
            f"Use a --difference of at most {most:.3g}, or a larger --changed.",
        )
    what = f"{rate:g} right, {unrelated if changed is None else changed:.3g} changed"
    return Spread(None, what, unrelated if changed is None else changed, bound=changed is None)


def spreads(runs: Sequence[Path]) -> list[Spread]:
    """Of the headline metrics of finished evaluations: of every pair of models that answered the same samples, the
    second set against the first; of a model without another, or whose others answered all alike, its own variance
    twice, which is a bound.

    A metric that says nothing of any spread is left out, with a warning that says why.

    Raises:
        RunError: a directory is no finished run.
        InputError: a run of another command, one that kept no resamples, or answers that say nothing of any spread.
    """
    columns = read_finished(runs)
    found = []
    for key in headlines(columns):
        first = first_with(columns, key.benchmark)
        unit = _unit(key.benchmark)
        changes = [(other, other.change_from(first, key)) for other in columns if other is not first]
        pairs = [(other, change) for other, change in changes if change is not None]
        made = [
            Spread(
                key,
                f"{first.name}, {other.name}",
                change.images * _variance(change.difference),
                change.images,
                unit=unit,
            )
            for other, change in pairs
        ]
        alone = first.resamples.get(key)
        images = first.values[key].images if key in first.values else 0
        if alone is not None and not any(spread.variance > 0 for spread in made):
            made = [Spread(key, first.name, 2 * images * _variance(alone), images, True, unit)]
        kept = [spread for spread in made if spread.variance > 0]
        if not kept:
            logger.warning("Warning: %s of %s is left out: %s.", key.name, first.name, _why_none(made))
        found += kept
    if not found:
        raise InputError(
            "No run has resamples of a metric that claims are made on, and that differs from image to image.",
            "Evaluate again, on more images.",
        )
    return found


def _unit(label: str) -> str:
    """What a benchmark counts, by its name in results; images where it is not installed here."""
    name = label.partition("-blind-")[0]
    return BENCHMARKS.get(name).unit if name in BENCHMARKS.names() else Benchmark.unit


def _variance(values: object) -> float:
    """Over the resamples [1:] that it is defined in; NaN where these are fewer than two."""
    import numpy as np

    resamples = np.asarray(values)[1:]
    defined = resamples[~np.isnan(resamples)]
    return float(defined.var()) if len(defined) > 1 else math.nan


def _why_none(made: Sequence[Spread]) -> str:
    """Why none of a metric's spreads says how many images it takes."""
    if not made:
        return "its run kept no resamples"
    if any(math.isnan(spread.variance) for spread in made):
        return "it is undefined, as there is nothing that it is over"
    return "it is the same whichever images are drawn"
