"""Benchmarks that ask a reward model, which says no words: its answer is the values of a sample's two answers.

The base beside it has the value head that every reward model began with. It says 0 of everything, so that the base
stands at chance, and the difference is what was learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mmpref.bench.answers import Answerer
from mmpref.bench.benchmark import BENCHMARKS, Sample
from mmpref.bench.cells import decoded_image
from mmpref.bench.pairs import PAIR
from mmpref.bench.recipe import BlindMode
from mmpref.errors import ChatTemplateError, ImageError, MmprefError, UsageError
from mmpref.run.results import BASE

if TYPE_CHECKING:
    from mmpref.types import ModelRef
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.reward_model import RewardModel


def asks_reward_model(benchmarks: Sequence[str]) -> bool:
    """Whether one of these benchmarks does."""
    return any(BENCHMARKS.get(name).rewards for name in benchmarks)


def check_reward_model(benchmarks: Sequence[str], adapter: str | None, blind: BlindMode | None) -> None:
    """See that a benchmark that asks a reward model has one.

    Raises:
        UsageError: there is none, or it is to do what it cannot.
    """
    name = next((name for name in benchmarks if BENCHMARKS.get(name).rewards), None)
    if name is None:
        return
    if len(benchmarks) > 1:
        raise UsageError(f"A reward model answers {name} and no other benchmark.", f"Evaluate {name} by itself.")
    if adapter is None:
        raise UsageError(
            f"The benchmark {name} asks a reward model.",
            "Give a run of `mmpref train --method reward-model` as --adapter.",
        )
    if blind == "masked":
        raise UsageError("A reward model's image tokens cannot be hidden.", "Use --blind=no-image.")


def load_reward_model(ref: ModelRef, **options: Any) -> Policy:
    """The policy of a reward model; as `RewardModel.load`."""
    from mmpref.vlm.reward_model import RewardModel

    return RewardModel.load(ref, **options).policy


def reward_answerer(policy: Callable[[], Policy], blind: BlindMode | None) -> Answerer:
    """A reward model on this machine.

    Args:
        policy: loads it, once.
        blind: not None: images must be readable, but are not shown.
    """

    from mmpref.vlm.generate import Request
    from mmpref.vlm.request_checks import refusal

    @cache
    def reward_model() -> RewardModel:
        from mmpref.vlm.reward_model import RewardModel

        return RewardModel(policy())

    def rewards(sample: Sample, model_name: str) -> str | MmprefError:
        try:
            images = tuple(decoded_image(image) for image in sample.images)
        except ImageError as error:
            return error
        if why := refusal(policy(), Request(sample.messages, images), sample.name):
            return why
        answers = [sample.reference[side] for side in PAIR]
        if refused := policy().prompter.refused(sample.messages, len(images), dict(zip(PAIR, answers, strict=True))):
            part, words = refused
            return ChatTemplateError(f"{sample.name}, {part}: {words}.")
        values = (
            [0.0, 0.0]
            if model_name == BASE
            else reward_model().score(() if blind else images, sample.messages, answers)
        )
        return json.dumps(dict(zip(PAIR, values, strict=True)))

    def answer(
        samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        return {name: [rewards(sample, name) for sample in samples] for name in models}

    return answer
