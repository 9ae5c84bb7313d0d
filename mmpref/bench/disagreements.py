"""Answers to read: samples that one model has right and another wrong, with their images where these are there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

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


def disagreements(first: FinishedModel, second: FinishedModel, key: Key, limit: int) -> Disagreements:
    """Wins and losses in a metric that is a quotient of counts, at most so many of each with their images; none where
    the two were not asked the same samples."""
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
    of = _images(first, key.benchmark, {row.id for row in [*wins[:limit], *losses[:limit]]})
    won, lost = (
        tuple(dataclasses.replace(row, images=of.get(row.id, ())) for row in rows[:limit]) for rows in (wins, losses)
    )
    return Disagreements(len(wins), len(losses), won, lost, count)


def _images(model: FinishedModel, label: str, ids: set[str]) -> dict[str, tuple[ImageData, ...]]:
    """The images of some samples, out of the run's own data if these are still what they were; none of a benchmark that
    is code of others, whose data nothing else here knows."""
    if not ids:
        return {}
    try:
        recipe = recipes.build(EvaluateRecipe, model.manifest["recipe"])
        name = next(name for name in recipe.benchmarks if recipe.label(name) == label)
        if BENCHMARKS.get(name).foreign:
            logger.info(
                "The images of %s are not shown: code of others reads them, and only an evaluation runs it.", label
            )
            return {}
        plan = load_plan(name, label, recipe.benchmark[name], recipe.limit)
        facts = data_facts(plan.table, plan.samples, recipe.benchmark[name])
        if facts["samples"] != model.manifest["data"][name]["samples"]:
            logger.warning("Warning: the data of %s have changed since %s; its images are not shown.", name, model.run)
            return {}
        return {sample.id: sample.images for sample in plan.samples if sample.id in ids}
    except (MmprefError, StopIteration, KeyError) as error:
        logger.warning("Warning: the images of %s cannot be shown: %s", label, error)
        return {}
