"""Benchmarks of a model while it is trained: values without intervals, of the samples that a recipe names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.bootstrap import replicates
from mmpref.bench.chosen_on import row_digests
from mmpref.bench.identity import data_facts
from mmpref.bench.image_store import ImageStore
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.bench.official import asked_of
from mmpref.bench.plan import Plan, load_plan, resolve_settings
from mmpref.bench.replies import read_replies
from mmpref.bench.results import Outcome
from mmpref.bench.score import score_replies
from mmpref.errors import MmprefError, UsageError
from mmpref.reasoning import MARKERS
from mmpref.run.asked import Asked
from mmpref.run.results import ADAPTER, ALL

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class MetricValue(NamedTuple):
    """One value, and whether more of it is better (None where neither is)."""

    value: float
    higher_is_better: bool | None


class PeriodicEvaluator:
    """Scores a policy as it is. The data are read once; their images wait on disk, and those of one batch are in memory
    at a time.

    Args:
        benchmarks: names.
        settings: of each benchmark by name.
        split: of all benchmarks, instead of their own.
        limit: first samples of each only.
        batch_size: samples answered together.

    Raises:
        UsageError: unknown benchmark or setting, or one that a judge scores or a reward model answers.
        InputError: data that cannot be read.
    """

    def __init__(
        self,
        benchmarks: Sequence[str],
        settings: Mapping[str, Any],
        *,
        split: str | None = None,
        limit: int | None = None,
        batch_size: int = 32,
    ) -> None:
        names = tuple(dict.fromkeys(benchmarks))
        settings = resolve_settings(names, settings, split)
        self._batch_size, self._warned = batch_size, False
        for name in names:
            _refuse_unwatchable(name)
        self._benchmarks: list[tuple[Plan, ImageStore]] = []
        self.watched: dict[str, Asked] = {}
        """On which data, by benchmark."""
        self.files: dict[str, Mapping[str, str]] = {}
        """Hashes of the files that settings name beside the data, by benchmark and setting."""
        for name in names:
            plan = load_plan(name, name, settings[name], limit)
            _refuse_judged(name, "judge" in BENCHMARKS.get(name).decided_by(plan.settings))
            facts = data_facts(plan.table, plan.samples, settings[name])
            asked = asked_of(plan, facts["samples"], limit)
            self.watched[name] = dataclasses.replace(asked, rows=row_digests(plan.samples))
            self.files[name] = facts["files"]
            self._benchmarks.append((plan.without_images(), ImageStore(plan.samples)))

    def __call__(self, policy: Policy) -> dict[str, MetricValue]:
        """Every metric over all parts, by ``benchmark/metric``. A sample that the model cannot be asked, or whose reply
        comes to no answer, is missing, and so is its group; a metric over nothing is NaN.

        Raises:
            InputError: no image can be read.
            ModelError: nothing was answered.
        """
        values: dict[str, MetricValue] = {}
        for plan, images in self._benchmarks:
            outcome = self._outcome(policy, plan, images)
            clusters = outcome.clusters
            for metric in plan.task.metrics([score for _, score in outcome.answered]):
                value = float(replicates(clusters, metric, 0)[0])
                if metric.part == ALL:
                    values[f"{plan.label}/{metric.name}"] = MetricValue(value, metric.higher_is_better)
        self._warned = True
        return values

    def metrics(self) -> dict[str, bool | None]:
        """The metrics that a call gives, and whether more of each is better: those that empty answers have too."""
        known: dict[str, bool | None] = {}
        for plan, _ in self._benchmarks:
            scores = [plan.task.score(sample, "") for sample in plan.samples]
            metrics = plan.task.metrics(scores)
            known |= {f"{plan.label}/{one.name}": one.higher_is_better for one in metrics if one.part == ALL}
        return known

    def _outcome(self, policy: Policy, plan: Plan, images: ImageStore) -> Outcome:
        answer = LocalAnswerer(lambda: policy, None)
        texts: list[str | MmprefError] = []
        for batch in images.batches(self._batch_size):
            texts += answer(batch, plan.task.max_new_tokens, [ADAPTER])[ADAPTER]
        return score_replies(plan, read_replies(texts, plan, MARKERS, quiet=self._warned))


def _refuse_judged(name: str, judged: bool) -> None:
    if judged:
        raise UsageError(
            f"The benchmark {name} is scored by a judge: not while training.",
            "Evaluate what was trained when it is done.",
        )


def _refuse_unwatchable(name: str) -> None:
    benchmark = BENCHMARKS.get(name)
    _refuse_judged(name, benchmark.judged)
    if benchmark.rewards:
        raise UsageError(
            f"The benchmark {name} asks a reward model: not while training.",
            "Measure one at the end of its training: --set loss.held_out=[PAIRS]",
        )
