"""Benchmarks that ask a reward model, which says no words: its answer is the values of a sample's two answers.

The base beside it has the value head that every reward model began with. It says 0 of everything, so that the base
stands at chance, and the difference is what was learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mmpref.bench.answers import Answerer, Blind
from mmpref.bench.benchmark import BENCHMARKS, Sample
from mmpref.bench.rows import seen
from mmpref.errors import ImageError, MmprefError, UsageError
from mmpref.run.results import BASE

if TYPE_CHECKING:
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.types import ModelRef
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.reward_model import RewardModel

PAIR = ("chosen", "rejected")
"""Where a sample's reference has its answers, and an answer, as JSON, their values."""


def asked_for(recipe: EvaluateRecipe) -> bool:
    """Whether a recipe's benchmark asks a reward model.

    Raises:
        UsageError: there is none, or it is to do what it cannot.
    """
    name = next((name for name in recipe.benchmarks if BENCHMARKS.get(name).rewards), None)
    if name is None:
        return False
    if len(recipe.benchmarks) > 1:
        raise UsageError(f"A reward model answers {name} and no other benchmark.", f"Evaluate {name} by itself.")
    if recipe.adapter is None:
        raise UsageError(
            f"The benchmark {name} asks a reward model.",
            "Give a run of `mmpref train --method reward-model` as --adapter.",
        )
    if recipe.blind == "masked":
        raise UsageError("A reward model's image tokens cannot be hidden.", "Use --blind no-image.")
    return True


def load(ref: ModelRef, **options: Any) -> Policy:
    """The policy of a reward model; as `RewardModel.load`."""
    from mmpref.vlm.reward_model import RewardModel

    return RewardModel.load(ref, **options).policy


def answerer(policy: Callable[[], Policy], blind: Blind | None) -> Answerer:
    """A reward model on this machine.

    Args:
        policy: loads it, once.
        blind: not None: images must be readable, but are not shown.
    """

    from mmpref.vlm.generate import Request
    from mmpref.vlm.request_checks import why_not

    @cache
    def model() -> RewardModel:
        from mmpref.vlm.reward_model import RewardModel

        return RewardModel(policy())

    def values(sample: Sample, name: str) -> str | MmprefError:
        try:
            images = () if sample.image is None else (seen(sample.image),)
        except ImageError as error:
            return error
        if why := why_not(policy(), Request(sample.messages, images), sample.image.name if sample.image else sample.id):
            return why
        answers = [sample.reference[name] for name in PAIR]
        said = [0.0, 0.0] if name == BASE else model().score(() if blind else images, sample.messages, answers)
        return json.dumps(dict(zip(PAIR, said, strict=True)))

    def answer(
        samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        return {name: [values(sample, name) for sample in samples] for name in models}

    return answer
