"""Benchmarks of a model while it is trained: values without intervals, of the samples that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mmpref.bench.answers import loaded
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.bootstrap import replicates
from mmpref.bench.groups import counted
from mmpref.bench.image_store import Shelf
from mmpref.bench.judging import JudgedTask
from mmpref.bench.plan import planned, resolved
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.replies import replies
from mmpref.bench.results import Outcome, Plan
from mmpref.errors import MmprefError, UsageError
from mmpref.reasoning import markers
from mmpref.run.results import ADAPTER

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class Watched(NamedTuple):
    """One value, and whether more of it is better (None where neither is)."""

    value: float
    higher_is_better: bool | None


class Watch:
    """Scores a policy as it is. The data are read once; their images wait on disk, and those of one batch are in memory
    at a time.

    Args:
        recipe: of the evaluation; its model and adapter play no part.

    Raises:
        UsageError: unknown benchmark or setting, or one that a judge scores or a reward model answers.
        InputError: data that cannot be read.
    """

    def __init__(self, recipe: EvaluateRecipe, batch_size: int = 32) -> None:
        recipe = resolved(recipe)
        self._known, self._batch_size, self._told = markers(recipe.thinking), batch_size, False
        self._shelves = [self._shelved(planned(recipe, name)) for name in recipe.benchmarks]

    @staticmethod
    def _shelved(plan: Plan) -> tuple[Plan, Shelf]:
        if isinstance(plan.task, JudgedTask):
            raise UsageError(
                f"The benchmark {plan.name} is scored by a judge: not while training.",
                "Evaluate the adapter when it is done.",
            )
        if BENCHMARKS.get(plan.name).rewards:
            raise UsageError(
                f"The benchmark {plan.name} asks a reward model: not while training.",
                "--set loss.held_out measures one at the end.",
            )
        return plan.without_images(), Shelf(plan.samples)

    def __call__(self, policy: Policy) -> dict[str, Watched]:
        """Every metric over all parts, by ``benchmark/metric``. A sample that the model cannot be asked, or whose reply
        comes to no answer, is missing, and so is its group; a metric over nothing is left out.

        Raises:
            InputError: no image can be read.
            ModelError: nothing was answered.
        """
        found: dict[str, Watched] = {}
        for plan, shelf in self._shelves:
            outcome = self._outcome(policy, plan, shelf)
            clusters = outcome.clusters
            for metric in plan.task.metrics([score for _, score in outcome.answered]):
                if metric.part == "all" and clusters.sums[:, clusters.names.index(metric.n)].sum() > 0:
                    value = float(replicates(clusters, metric, 0)[0])
                    found[f"{plan.label}/{metric.name}"] = Watched(value, metric.higher_is_better)
        self._told = True
        return found

    def _outcome(self, policy: Policy, plan: Plan, shelf: Shelf) -> Outcome:
        answer = loaded(lambda: policy, None, self._known)
        said: list[str | MmprefError] = []
        for batch in shelf.batches(self._batch_size):
            said += answer(batch, plan.task.max_new_tokens, [ADAPTER])[ADAPTER]
        answers = replies(said, plan, self._known, quiet=self._told).answers
        missing = frozenset(sample.id for sample, one in zip(plan.samples, answers, strict=True) if one is None)
        scores = [plan.task.score(sample, one or "") for sample, one in zip(plan.samples, answers, strict=True)]
        return Outcome(plan, counted(plan.samples, scores, missing), missing)
