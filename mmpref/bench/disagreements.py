"""Answers to read: samples that one model has right and another wrong, with their images where these are there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.finished_model import FinishedModel
from mmpref.bench.identity import data_facts
from mmpref.bench.plan import load_plan
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import MmprefError
from mmpref.log import logger
from mmpref.recipes import schema as recipes
from mmpref.run.results import Key
from mmpref.types import ImageData


@dataclass(frozen=True)
class Disagreement:
    """A sample on which two models differ.

    Args:
        gain: how much better the second one is, in the counts of the metric; negative where it is worse.
        images: none where the question has none, the data cannot be read any more, or code of others reads them.
    """

    id: str
    prompt: str
    reference: str
    first: str
    second: str
    gain: float
    images: tuple[ImageData, ...] = ()


@dataclass(frozen=True)
class Disagreements:
    """What a second model wins and loses against a first one.

    Args:
        wins, losses: how many samples.
        won, lost: those with the largest gains and losses, to be read.
        count: what a sample is won or lost by.
    """

    wins: int = 0
    losses: int = 0
    won: tuple[Disagreement, ...] = ()
    lost: tuple[Disagreement, ...] = ()
    count: str = ""


class SampleImages:
    """The images of what a model was asked. The data of the benchmark that was asked for last are kept: whoever sets
    several models against one, metric after metric, has them read once."""

    def __init__(self) -> None:
        self._of: tuple[Path, str] | None = None
        self._images: dict[str, tuple[ImageData, ...]] = {}

    def find(self, model: FinishedModel, label: str, ids: set[str]) -> dict[str, tuple[ImageData, ...]]:
        """Those of some samples, as far as they are there.

        Args:
            label: of the benchmark.
        """
        if ids and self._of != (model.run, label):
            self._of, self._images = (model.run, label), _images(model, label)
        return {id: self._images[id] for id in ids & self._images.keys()}


def disagreements(
    first: FinishedModel, second: FinishedModel, key: Key, limit: int, images: SampleImages | None = None
) -> Disagreements:
    """Wins and losses in a metric that is a quotient of counts; none where the two were not asked the same samples.

    Args:
        limit: so many of each at most are shown, with their images.
        images: where these are taken from, the same for all that are set against one model.
    """
    value = first.values[key]
    if not value.of or not first.is_asked_like(second, key.benchmark):
        return Disagreements()
    sign, (count, over) = -1.0 if value.higher_is_better is False else 1.0, value.of
    differing: list[Disagreement] = []
    for record, other in zip(first.records(key.benchmark), second.records(key.benchmark), strict=True):
        if (over in record.counts) != (over in other.counts):  # a group's counts may stand at another sample
            continue
        gain = sign * (other.counts.get(count, 0.0) - record.counts.get(count, 0.0))
        if gain and record.answer is not None and other.answer is not None and not (record.missing or other.missing):
            differing.append(
                Disagreement(record.id, record.prompt, record.reference, record.answer, other.answer, gain)
            )
    differing.sort(key=lambda row: -abs(row.gain))
    wins, losses = ([row for row in differing if (row.gain > 0) is better] for better in (True, False))
    shown = {row.id for row in [*wins[:limit], *losses[:limit]]}
    of = (images or SampleImages()).find(first, key.benchmark, shown)
    won, lost = (
        tuple(dataclasses.replace(row, images=of.get(row.id, ())) for row in rows[:limit]) for rows in (wins, losses)
    )
    return Disagreements(len(wins), len(losses), won, lost, count)


def _images(model: FinishedModel, label: str) -> dict[str, tuple[ImageData, ...]]:
    """The images of all samples, out of the run's own data if these are still what they were; none of a benchmark that
    is code of others, whose data nothing else here knows."""
    try:
        recipe = recipes.build(EvaluateRecipe, model.manifest["recipe"])
        name = next(name for name in recipe.benchmarks if recipe.label(name) == label)
        if BENCHMARKS.get(name).foreign:
            logger.info(
                "The images of %s are not shown: code of others reads them, and only an evaluation runs it.", label
            )
            return {}
        begun = model.manifest["data"][name]
        plan = load_plan(name, label, recipe.benchmark[name], recipe.limit, begun)
        facts = data_facts(plan.table, plan.samples, recipe.benchmark[name])
        if facts["samples"] != begun["samples"]:
            logger.warning("Warning: the data of %s have changed since %s; its images are not shown.", name, model.run)
            return {}
        return {sample.id: sample.images for sample in plan.samples}
    except (MmprefError, StopIteration, KeyError) as error:
        logger.warning("Warning: the images of %s cannot be shown: %s", label, error)
        return {}
