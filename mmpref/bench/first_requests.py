"""The first prompts of an evaluation, for whoever measures something else on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpref.bench.cells import decoded_image
from mmpref.bench.plan import load_plan, resolve_settings
from mmpref.bench.recipe import EvaluateRecipe

if TYPE_CHECKING:
    from mmpref.vlm.generate import Request


def first_requests(recipe: EvaluateRecipe, benchmark: str | None, count: int) -> tuple[list[Request], int]:
    """The first prompts of a benchmark with their images, and how many tokens an answer may have.

    Args:
        benchmark: one of the recipe's; None for its first.
    """
    from mmpref.vlm.generate import Request

    name = benchmark or recipe.benchmarks[0]
    settings = resolve_settings([name], recipe.benchmark, recipe.split, recipe.image_root, recipe.columns)[name]
    plan = load_plan(name, name, settings, count)
    requests = [
        Request(sample.messages, tuple(decoded_image(image) for image in sample.images)) for sample in plan.samples
    ]
    return requests, plan.task.max_new_tokens
