"""Benchmarks of a model while it is trained: values without intervals, of the samples that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.evaluate import EvaluateRecipe
from mmpref.bench.groups import counted
from mmpref.bench.judging import JudgedTask
from mmpref.bench.planning import planned, resolved
from mmpref.bench.stats import Clusters, replicates
from mmpref.errors import ImageError, UsageError
from mmpref.images import decode

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class Watched(NamedTuple):
    """One value, and whether more of it is better (None where neither is)."""

    value: float
    higher_is_better: bool | None


class Watch:
    """Scores a policy as it is. The data are read once.

    Args:
        recipe: of the evaluation; its model and adapter play no part.

    Raises:
        UsageError: unknown benchmark or setting, or one that a judge scores or a reward model answers.
        InputError: data that cannot be read.
    """

    def __init__(self, recipe: EvaluateRecipe, batch_size: int = 32) -> None:
        recipe = resolved(recipe)
        self._plans, self._batch_size = [planned(recipe, name) for name in recipe.benchmarks], batch_size
        for plan in self._plans:
            if isinstance(plan.task, JudgedTask):
                raise UsageError(f"The benchmark {plan.name} is scored by a judge: not while training.",
                                 "Evaluate the adapter when it is done.")  # fmt: skip
            if BENCHMARKS.get(plan.name).rewards:
                raise UsageError(f"The benchmark {plan.name} asks a reward model: not while training.",
                                 "--set loss.held_out measures one at the end.")  # fmt: skip

    def __call__(self, policy: Policy) -> dict[str, Watched]:
        """Every metric over all parts, by ``benchmark/metric``. Samples whose image cannot be read are left out."""
        from mmpref.vlm.decoding import MODEL, Decoding
        from mmpref.vlm.policy import Request

        found: dict[str, Watched] = {}
        for plan in self._plans:
            asked, requests = [], []
            for sample in plan.samples:
                try:
                    images = () if sample.image is None else (decode(sample.image),)
                except ImageError:
                    continue
                asked.append(sample)
                requests.append(Request(sample.messages, images))
            answers = policy.generate(
                requests, Decoding(plan.task.max_new_tokens, repetition_penalty=MODEL), batch_size=self._batch_size
            )
            scores = [plan.task.score(sample, answer) for sample, answer in zip(asked, answers, strict=True)]
            scores = counted(asked, scores, frozenset())
            names = {name for score in scores for name in score.counts}
            clusters = Clusters.of([sample.image_id for sample in asked], scores, names)
            for metric in plan.task.metrics(scores):
                if metric.part == "all":
                    value = float(replicates(clusters, metric, 0)[0])
                    found[f"{plan.label}/{metric.name}"] = Watched(value, metric.higher_is_better)
        return found
