"""Answers to read: samples that one model has right and another wrong, with their images where these are there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from mmpref import recipe as recipes
from mmpref.bench.began import data_facts
from mmpref.bench.columns import Column, Key
from mmpref.bench.evaluate import EvaluateRecipe, planned
from mmpref.errors import MmprefError
from mmpref.types import ImageData

talk = logging.getLogger("mmpref")


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


def turns(first: Column, second: Column, key: Key, most: int) -> tuple[list[Turn], list[Turn]]:
    """The samples with the largest gains and losses of the second column, at most so many of each, images included."""
    found = first.found[key]
    if not found.get("of") or not first.pairs_with(second, key[0]):
        return [], []
    sign = -1.0 if found["higher_is_better"] is False else 1.0
    count = found["of"][0]
    differing: list[tuple[float, str, Turn]] = []
    for one, two in zip(first.records(key[0]), second.records(key[0]), strict=True):
        gain = sign * (two.counts.get(count, 0.0) - one.counts.get(count, 0.0))
        if gain and one.answer is not None and two.answer is not None:
            differing.append((gain, one.id, Turn(one.prompt, one.reference, one.answer, two.answer, gain)))
    gains = sorted((item for item in differing if item[0] > 0), key=lambda item: -item[0])[:most]
    losses = sorted((item for item in differing if item[0] < 0), key=lambda item: item[0])[:most]
    images = _images(first, key[0], {name for _, name, _ in [*gains, *losses]})
    won, lost = ([Turn(turn.prompt, turn.reference, turn.first, turn.second, turn.gain, images.get(name))
                  for _, name, turn in some] for some in (gains, losses))  # fmt: skip
    return won, lost


def _images(column: Column, label: str, wanted: set[str]) -> dict[str, ImageData]:
    """The images of some samples, out of the run's own data if these are still what they were."""
    if not wanted:
        return {}
    try:
        recipe = recipes.build(EvaluateRecipe, column.manifest["recipe"])
        name = next(name for name in recipe.benchmarks if recipe.label(name) == label)
        plan = planned(recipe, name)
        facts = data_facts(plan.table, plan.samples, recipe.benchmark[name])
        if facts["samples"] != column.manifest["data"][name]["samples"]:
            talk.warning("Warning: the data of %s have changed since %s; its images are not shown.", name, column.path)
            return {}
        return {sample.id: sample.image for sample in plan.samples if sample.id in wanted and sample.image}
    except (MmprefError, StopIteration, KeyError) as error:
        talk.warning("Warning: the images of %s cannot be shown: %s", label, error)
        return {}


def headlines(columns: Sequence[Column]) -> list[Key]:
    """The metrics of the first column that claims are made on."""
    return [key for key, row in columns[0].found.items() if row.get("headline")]
