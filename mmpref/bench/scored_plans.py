"""What an evaluation comes to, benchmark by benchmark: values, differences, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench.benchmark import Metric
from mmpref.bench.bootstrap import replicates
from mmpref.bench.judging import Judge, JudgedTask
from mmpref.bench.moved import equal_share, is_short, remarks_on
from mmpref.bench.official import with_parts
from mmpref.bench.plan import Plan
from mmpref.bench.recipe import BlindMode
from mmpref.bench.records import write_resamples
from mmpref.bench.results import Compared, Outcome, metric_value
from mmpref.bench.score import remarks_on_unjudged, verdict_facts, write_judgements, write_outcomes
from mmpref.bench.significance import with_holm
from mmpref.bench.undefined import undefined
from mmpref.bench.unread import unread
from mmpref.errors import MmprefError
from mmpref.run.asked import Asked
from mmpref.run.results import ADAPTER, ALL, BASE, Difference, Key, Results, Value
from mmpref.types import ModelRef

if TYPE_CHECKING:
    import numpy as np


class ScoredPlans:
    """The benchmarks of a run that are scored so far.

    Args:
        run: its directory.
        judge: who judges, where a benchmark is judged.
        seed: of the resamples.
        blind: how the image is kept from the model, if it is.
    """

    def __init__(self, run: Path, judge: Judge | None, seed: int, blind: BlindMode | None) -> None:
        self._run, self._judge, self._seed, self._blind = run, judge, seed, blind
        self._plans: list[Plan] = []
        self._asked: dict[str, Asked] = {}
        self._values: list[Value] = []
        self._differences: list[Difference] = []
        self._resamples: dict[tuple[str, Key], np.ndarray] = {}
        self._empty: dict[Key, str] = {}
        """Of each metric, why there may be nothing that it is over."""
        self._missing: dict[str, dict[str, int]] = {}
        self._verdicts: dict[str, Any] = {}
        self._reasoning: dict[str, Any] = {}
        self._judgements: list[dict[str, Any]] = []
        self._equal: dict[str, float] = {}
        """Of each benchmark, the share of answers that are the same with the adapter."""
        self._short: set[str] = set()
        """Benchmarks whose answers are of a few words."""
        self._remarks: list[str] = []

    def add(
        self,
        plan: Plan,
        asked: Asked,
        answers: Mapping[str, Sequence[str | MmprefError]],
        outcomes: Mapping[str, Outcome],
        judgements: Sequence[dict[str, Any]],
    ) -> None:
        """Score a benchmark, and write its records.

        Args:
            asked: by what results call it.
            answers: of each model, or why there is none.
            outcomes: of each model.
            judgements: what a judge replied.
        """
        compared = Compared.of(outcomes)
        write_outcomes(self._run, outcomes, compared)
        self._plans.append(plan)
        if ADAPTER in outcomes and (share := equal_share(answers)) is not None:
            self._equal[plan.label] = share
            if is_short(answers[BASE]):
                self._short.add(plan.label)
        self._judgements += judgements
        own = (*asked.remarks, *remarks_on_unjudged(plan.label, outcomes))
        self._remarks += [remark for remark in own if remark not in self._remarks]
        metrics = self._metrics(plan, compared, outcomes)
        if any(outcome.reasoned for outcome in outcomes.values()):
            self._reasoning[plan.label] = {
                model: {"reasoned": outcome.reasoned, "unfinished": outcome.unfinished}
                for model, outcome in outcomes.items()
            }
        parts = {metric.part for metric in metrics} - {ALL}
        self._asked[plan.label] = with_parts(asked, plan.samples, outcomes[BASE].scores, parts)
        self._missing[plan.label] = {model: len(outcome.missing) for model, outcome in outcomes.items()}
        self._measure(compared, metrics)

    def _metrics(self, plan: Plan, compared: Compared, outcomes: Mapping[str, Outcome]) -> list[Metric]:
        metrics = plan.task.metrics(compared.scores)
        if self._judge is None or not isinstance(plan.task, JudgedTask):
            return metrics
        self._verdicts[plan.label] = {model: verdict_facts(outcome) for model, outcome in outcomes.items()}
        return [self._judge.named(metric, plan.task) for metric in metrics]

    def _measure(self, compared: Compared, metrics: Sequence[Metric]) -> None:
        """The values of each model, their resamples, and the differences."""
        for model, outcome in compared.outcomes.items():
            clusters = compared.clusters[model]
            for metric in metrics:
                value = metric_value(metric, model, clusters, outcome, self._seed, self._blind)
                self._values.append(value)
                self._empty[value.key] = metric.empty
                self._resamples[model, value.key] = replicates(clusters, metric, self._seed)
        self._differences += compared.differences(metrics, self._seed, self._values)

    def write(self, models: Mapping[str, ModelRef], adapter: Mapping[str, Any] | None) -> Results:
        """Write what all of them come to: resamples, what a judge replied, the results."""
        differences = tuple(with_holm(self._differences))
        results = Results(models, tuple(self._values), differences, adapter, self._reasoning, self._asked)
        write_resamples(self._run, self._resamples)
        write_judgements(self._run, self._judgements)
        results.write(self._run)
        return results

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        remarks = [
            *self._remarks,
            *remarks_on(self._equal, self._differences, self._short),
            *unread(self._values, self._plans),
            *undefined(self._values, self._empty),
        ]
        return {
            "missing": self._missing,
            **({"equal_answers": self._equal} if self._equal else {}),
            **({"remarks": remarks} if remarks else {}),
            **({"judge": self._judge.facts(self._verdicts)} if self._judge else {}),
        }
