"""How long a command takes on one H100 or H200: arithmetic from sizes, not a measurement.

The arithmetic is `mmpref.vlm.costs`. The parameters are those that a model's name says (``7b``); where it says none
there is no estimate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmpref.study.known_sets import ASSUMED_QUESTIONS, KNOWN
from mmpref.vlm.costs import (
    BDHS_PAIRS,
    MEMORY,
    PEAK,
    REFERENCE,
    TOKENS,
    TRAINED,
    UTILISATION,
    bdhs_hours,
    forward_hours,
)

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

FORMULA = (
    f"Hours are an estimate, not a measurement, for one H100 or H200: a forward of image and text ({TOKENS:,} tokens) "
    f"is 2 x parameters x tokens operations at {UTILISATION:.0%} of {PEAK / 1e12:.0f} TFLOP/s. A pair in training "
    f"takes {TRAINED} forwards and {REFERENCE} of the reference, an answer or a reward 1, a verdict 2 of the "
    f"annotator. BDHS makes {BDHS_PAIRS:,} pairs an hour at full use (scripts/bench_sizes.py). Downloads, the time of "
    "endpoints and the KL from the base are not in it."
)


def parameters(model: str | None) -> float:
    """What a model's name says of its size: 7e9 of ``llava-v1.6-vicuna-7b-hf``; NaN where it says nothing."""
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)b(?![a-z0-9])", (model or "").lower())
    return float(found[1]) * 1e9 if found else math.nan


def accelerators(models: Iterable[str | None]) -> int:
    """How many hold these models' weights in bf16, at 85 % of their memory."""
    weights = sum(2 * size for size in map(parameters, models) if not math.isnan(size))
    return max(1, math.ceil(weights / (0.85 * MEMORY)))


def build_hours(recipe: BuildRecipe, rows: float) -> float:
    """Of a preference dataset of so many rows; 0 where no local model works. What an annotator takes is not in it."""
    from mmpref.data.builder import BUILDERS
    from mmpref.recipes.schema import as_plain, build

    builder = BUILDERS.get(recipe.method)
    if not recipe.model or not builder.uses_model:
        return 0.0
    model = parameters(recipe.model)
    settings = as_plain(build(builder.config(), recipe.builder, f"builder {recipe.method}"))
    own = rows * int(settings.get("samples", 1)) * forward_hours(model)
    if recipe.method == "bdhs-own":
        return own + rows * bdhs_hours(model)
    if recipe.method not in ("bdhs", "masking"):
        return own
    hidden = settings.get("noise_steps") is None and settings.get("rho_th") != 0
    return rows * (bdhs_hours(model) if hidden else 2 * forward_hours(model))


def train_hours(recipe: TrainRecipe, pairs: float) -> float:
    """Of a training on so many pairs."""
    from mmpref.align.method import METHODS

    method, model = METHODS.get(recipe.method), parameters(recipe.model)
    trainer, forward = recipe.trainer, forward_hours(model)
    batch = trainer.get("per_device_train_batch_size", 8) * trainer.get("gradient_accumulation_steps", 1)  # TRL's own
    steps = trainer.get("max_steps", -1)
    seen = steps * batch if steps > 0 else pairs * trainer.get("num_train_epochs", 3)
    if recipe.method == "rloo":  # each answer is sampled, rewarded, compared with the base and learned from
        answers = seen if steps > 0 else seen * recipe.loss.get("samples", 4)  # its batches are of answers
        return float(answers * (TRAINED + REFERENCE + 2) * forward)
    if recipe.method == "reward-model":
        return float(seen * TRAINED * forward)
    if not method.samples_answers:
        return float((seen * TRAINED + pairs * REFERENCE) * forward)
    return float(seen * ((TRAINED + REFERENCE) * forward + _sampling_hours(recipe, model)))


def _sampling_hours(recipe: TrainRecipe, model: float) -> float:
    """What a pair takes that is made while training."""
    from mmpref.align.method import METHODS

    if recipe.annotator:
        offline = {**METHODS.get(recipe.method).defaults["loss"], **recipe.loss}.get("offline", 0.0)
        asked = parameters(recipe.annotator)
        verdict = 0.0 if math.isnan(asked) else 2 * forward_hours(asked)
        return float(1 - offline) * (2 * forward_hours(model) + verdict)
    return bdhs_hours(model) if recipe.method == "online-bdhs" else forward_hours(model)


def evaluate_hours(recipe: EvaluateRecipe) -> float:
    """Of the answers of one model to the benchmarks of a recipe."""
    asked = sum(min(questions(name), recipe.limit or math.inf) for name in recipe.benchmarks)
    return asked * forward_hours(parameters(recipe.model))


def questions(benchmark: str) -> int:
    """How many a benchmark asks."""
    from mmpref.bench.benchmark import BENCHMARKS

    known = [KNOWN[name].rows for name in BENCHMARKS.get(benchmark).candidates if name in KNOWN]
    return next(filter(None, known), ASSUMED_QUESTIONS)
