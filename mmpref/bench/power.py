"""How many images a comparison needs, before it is run: the power of a paired difference.

Two models answer on the same images; the difference of a metric has variance ``v / images``, where v is that of one
image. It is "seen" where its 95 % interval excludes 0 and its p-value is below 0.05, and a model is shown to be *no
worse* than a margin where the interval lies wholly above it. Both take the same number of images, by the normal
approximation: a true difference of d is seen with the power asked for from

    images = (z(97.5 %) + z(power))^2 v / d^2

on, and so many show of a model that changes nothing that it is no worse than d. v comes from the resamples of a former
evaluation, which know how much an image's questions hang together, or from assumed rates of one question an image
(McNemar's test: v is the share of answers that become right or wrong; Connor, Biometrics 43, 1987).

No difference can be larger than what changes: for a true difference of d answers change on at least ``d / size`` of the
images, where `size` is what a changed image changes by, which is ``size d`` of v whatever a former evaluation saw. What
changed there both ways, for no difference, comes on top. Few changed images say little: they count as if two more had
changed of four more ("plus four", Agresti and Coull, American Statistician 52, 1998).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpref.bench.benchmark import BENCHMARKS, Benchmark
from mmpref.bench.changes import Changes, changes, unlike_most, variance_of_one
from mmpref.bench.finished_model import FinishedModel, first_with, headlines, read_finished
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
        size: what an image that changes changes by, in the metric's units.
        both_ways: the part of the variance that makes no difference.
        images: how many it was found on; 0 where it was assumed.
        samples, samples_changed: what both models answered, and on how many they differ; 0 of a model alone.
        unit: what is counted, where a benchmark's questions hang together by more than an image
            (`mmpref.bench.benchmark.Benchmark`): all numbers of images are then of these.
        bound: it takes two models as unrelated on an image; pairs that agree more need fewer images.
    """

    key: Key | None
    of: str
    variance: float
    size: float = 0.0
    both_ways: float = 0.0
    images: int = 0
    samples: int = 0
    samples_changed: int = 0
    bound: bool = False
    unit: str = "images"

    def variance_at(self, difference: float) -> float:
        """Where this is the true difference: no less than it takes to make it."""
        return max(self.variance, self.both_ways + self.size * abs(difference))

    def images_needed(self, difference: float, power: float = POWER) -> int:
        """From how many images on a true difference of this size is seen."""
        return max(2, math.ceil(_z(power) ** 2 * self.variance_at(difference) / difference**2))

    def smallest_difference(self, images: int, power: float = POWER) -> float:
        """The smallest true difference that so many images see."""
        factor = _z(power) ** 2 / images
        half = factor * self.size / 2  # of d^2 = factor (both_ways + size d), where that is more than the variance
        return max(math.sqrt(factor * self.variance), half + math.sqrt(half**2 + factor * self.both_ways))

    def power_of(self, images: int, difference: float) -> float:
        """The chance that so many images see a true difference of this size."""
        from scipy import special

        error = math.sqrt(self.variance_at(difference) / images)
        return float(special.ndtr(abs(difference) / error - special.ndtri((1 + LEVEL) / 2)))


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
    what = f"{rate:g} right, {most:.3g} changed"
    return Spread(None, what, most, 1.0, bound=changed is None)


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
        pairs = [(other, changes(first, other, key)) for other in columns if other is not first]
        made = [_of_pair(key, f"{first.name}, {other.name}", change) for other, change in pairs if change]
        if key in first.resamples and not any(spread.variance > 0 for spread in made):
            made = [_of_one(key, first)]
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


def _of_pair(key: Key, of: str, change: Changes) -> Spread:
    size = math.sqrt(change.squares / change.changed) if change.changed else 0.0
    variance = _plus_four(change.variance, change.changed, change.images)
    both_ways = max(0.0, variance - size * abs(change.mean))
    samples = change.samples, change.samples_changed
    return Spread(key, of, variance, size, both_ways, change.images, *samples, unit=_unit(key.benchmark))


def _of_one(key: Key, model: FinishedModel) -> Spread:
    """As if another model were unrelated to it."""
    value = model.values[key]
    alone = variance_of_one(model.resamples[key], value.images)
    variance = 2 * _plus_four(alone, unlike_most(model, key), value.images)
    unit = _unit(key.benchmark)
    return Spread(key, model.name, variance, float(value.binary), images=value.images, bound=True, unit=unit)


def _plus_four(variance: float, changed: int, images: int) -> float:
    """A variance that rests on so many of so many images."""
    return variance * max(1.0, (changed + 2) / (images + 4) * images / changed) if changed else variance


def _unit(label: str) -> str:
    """What a benchmark counts, by its name in results; images where it is not installed here."""
    name = label.partition("-blind-")[0]
    return BENCHMARKS.get(name).unit if name in BENCHMARKS.names() else Benchmark.unit


def _why_none(made: Sequence[Spread]) -> str:
    """Why none of a metric's spreads says how many images it takes."""
    if not made:
        return "its run kept no resamples"
    if any(math.isnan(spread.variance) for spread in made):
        return "it is undefined, as there is nothing that it is over"
    return "it is the same whichever images are drawn"
