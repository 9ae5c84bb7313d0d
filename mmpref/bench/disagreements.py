"""Answers to read: samples that one model has right and another wrong, with their images where these are there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.bench.finished import Column, Key
from mmpref.bench.identity import data_facts
from mmpref.bench.plan import load_plan
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import MmprefError
from mmpref.log import logger
from mmpref.recipe import schema as recipes
from mmpref.types import ImageData


@dataclass(frozen=True)
class Turn:
    """A sample on which two models differ.

    Args:
        gain: how much better the second one is, in the counts of the metric; negative where it is worse.
        image: None where the question has none, or the data cannot be read any more.
    """

    prompt: str
    reference: str
    first: str
    second: str
    gain: float
    image: ImageData | None = None


@dataclass(frozen=True)
class Turns:
    """What a second model wins and loses against a first one.

    Args:
        wins, losses: how many samples.
        won, lost: those with the largest gains and losses, to be read.
    """

    wins: int = 0
    losses: int = 0
    won: tuple[Turn, ...] = ()
    lost: tuple[Turn, ...] = ()


def turns(first: Column, second: Column, key: Key, most: int) -> Turns:
    """Wins and losses in a metric that is a quotient of counts, at most so many of each with their images; none where
    the two have not answered the same samples."""
    found = first.found[key]
    if not found.get("of") or not first.pairs_with(second, key[0]):
        return Turns()
    sign = -1.0 if found["higher_is_better"] is False else 1.0
    count = found["of"][0]
    differing: list[tuple[float, str, Turn]] = []
    for one, two in zip(first.records(key[0]), second.records(key[0]), strict=True):
        gain = sign * (two.counts.get(count, 0.0) - one.counts.get(count, 0.0))
        if gain and one.answer is not None and two.answer is not None and not one.missing:
            differing.append((gain, one.id, Turn(one.prompt, one.reference, one.answer, two.answer, gain)))
    ordered = sorted(differing, key=lambda item: -abs(item[0]))
    wins, losses = ([item for item in ordered if (item[0] > 0) is better] for better in (True, False))
    images = _images(first, key[0], {name for _, name, _ in [*wins[:most], *losses[:most]]})
    won, lost = (
        tuple(dataclasses.replace(turn, image=images.get(name)) for _, name, turn in some[:most])
        for some in (wins, losses)
    )
    return Turns(len(wins), len(losses), won, lost)


def _images(column: Column, label: str, wanted: set[str]) -> dict[str, ImageData]:
    """The images of some samples, out of the run's own data if these are still what they were."""
    if not wanted:
        return {}
    try:
        recipe = recipes.build(EvaluateRecipe, column.manifest["recipe"])
        name = next(name for name in recipe.benchmarks if recipe.label(name) == label)
        plan = load_plan(name, label, recipe.benchmark[name], recipe.limit)
        facts = data_facts(plan.table, plan.samples, recipe.benchmark[name])
        if facts["samples"] != column.manifest["data"][name]["samples"]:
            logger.warning(
                "Warning: the data of %s have changed since %s; its images are not shown.", name, column.path
            )
            return {}
        return {sample.id: sample.image for sample in plan.samples if sample.id in wanted and sample.image}
    except (MmprefError, StopIteration, KeyError) as error:
        logger.warning("Warning: the images of %s cannot be shown: %s", label, error)
        return {}


def headlines(columns: Sequence[Column]) -> list[Key]:
    """The metrics that claims are made on."""
    return list(dict.fromkeys(key for column in columns for key, row in column.found.items() if row.get("headline")))
