"""From what models made of a benchmark to its results: values with intervals, and paired differences with p-values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mmpref.bench.benchmark import BENCHMARKS, CountKey, Metric, Sample, Score, places
from mmpref.bench.bootstrap import Clusters, percentile_interval, replicates
from mmpref.bench.paired import Row, change_of, pairs_of
from mmpref.bench.parts import groups_of, with_group_counts
from mmpref.bench.plan import Plan
from mmpref.bench.recipe import BlindMode
from mmpref.bench.significance import paired_difference
from mmpref.recipes import schema as recipes
from mmpref.run.results import ADAPTER, BASE, Difference, JudgeNoise, Key, Value


@dataclass(frozen=True)
class Outcome:
    """What one model made of a benchmark.

    Args:
        scores: of each sample, of an empty answer where it is missing.
        missing: ids of the samples whose image cannot be seen, or that have no readable verdict; missing is not wrong,
            so they do not count.
        raw: the model's replies; None where there is none.
        said: of a judge, in its words.
        verdicts: counts of the judge's replies, where there is one; of all times that it was asked.
        repeats: the same answers, as the judge saw them when it was asked again.
        reasoned, unfinished: how many replies had a block of reasoning, and how many never came to an answer.
        unread: the first reply of the judge that could not be read.
        unjudged: why answers have no verdict of a judge that the benchmark asks by itself; they are missing.
    """

    plan: Plan
    scores: Sequence[Score]
    missing: frozenset[str]
    raw: Sequence[str | None]
    said: Sequence[str | None] | None = None
    verdicts: Mapping[str, float] = field(default_factory=dict)
    repeats: Sequence[Outcome] = ()
    reasoned: int = 0
    unfinished: int = 0
    unread: str = ""
    unjudged: Sequence[str] = ()

    def without(self, missing: frozenset[str]) -> Outcome:
        """The same with more samples missing, each time that a judge was asked."""
        repeats = [repeat.without(missing) for repeat in self.repeats]
        scores = with_group_counts(self.plan.samples, self.scores, self.missing, missing)
        return dataclasses.replace(self, scores=scores, missing=self.missing | missing, repeats=repeats)

    @property
    def rows(self) -> list[Row]:
        """The samples, as they are paired with those of another model."""
        return [
            Row(sample.id, sample.image_id, reply is not None, sample.id in self.missing, groups_of(sample))
            for sample, reply in zip(self.plan.samples, self.raw, strict=True)
        ]

    @property
    def answered(self) -> list[tuple[Sample, Score]]:
        pairs = zip(self.plan.samples, self.scores, strict=True)
        return [(sample, score) for sample, score in pairs if sample.id not in self.missing]

    @property
    def clusters(self) -> Clusters:
        names = {name for score in self.scores for name in score.counts}
        answered = self.answered
        return Clusters.of([sample.image_id for sample, _ in answered], [score for _, score in answered], names)

    def scores_of(self, metric: Metric) -> list[Score]:
        """Of the answers that a metric is made of: of one of groups all answers to each that counts, though its counts
        stand at one."""
        holders = [(sample, score) for sample, score in self.answered if metric.n in score.counts]
        if not metric.grouped:
            return [score for _, score in holders]
        kind = str(metric.n).removesuffix("/n")
        whole = {groups_of(sample)[kind] for sample, _ in holders}
        return [score for sample, score in self.answered if groups_of(sample).get(kind) in whole]

    def missing_in(self, count: CountKey | str) -> int:
        """How many missing samples the count would have been over."""
        pairs = zip(self.plan.samples, self.scores, strict=True)
        return sum(sample.id in self.missing and count in score.counts for sample, score in pairs)


@dataclass(frozen=True)
class Compared:
    """The outcomes of a run's models on the samples that its results are over: with an adapter, their pairs.

    Args:
        outcomes: of each model; what is no pair is missing of both.
        counted: ids of these samples.
    """

    outcomes: Mapping[str, Outcome]
    counted: frozenset[str]

    @classmethod
    def of(cls, outcomes: Mapping[str, Outcome]) -> Compared:
        samples = outcomes[BASE].plan.samples
        lost = frozenset[str]().union(*(outcome.missing for outcome in outcomes.values()))
        counted = frozenset(sample.id for sample in samples) - lost
        return cls({model: outcome.without(lost) for model, outcome in outcomes.items()}, counted)

    @cached_property
    def clusters(self) -> dict[str, Clusters]:
        return {model: outcome.clusters for model, outcome in self.outcomes.items()}

    @cached_property
    def scores(self) -> list[Score]:
        """Of all models."""
        return [score for outcome in self.outcomes.values() for _, score in outcome.answered]

    def differences(self, metrics: Sequence[Metric], seed: int, values: Sequence[Value] = ()) -> list[Difference]:
        """What the adapter changed, paired by image and not corrected yet; nothing of a base alone.

        Args:
            values: the metrics of both models, which say what measures the form of answers.
        """
        if ADAPTER not in self.outcomes:
            return []
        rows = self.outcomes[BASE].rows, self.outcomes[ADAPTER].rows
        forms = {(value.model, value.key) for value in values if value.is_form}
        plan, base, adapter = self.outcomes[BASE].plan, self.clusters[BASE], self.clusters[ADAPTER]
        return [
            paired_difference(
                _key(plan, metric),
                change_of(metric, base, adapter, pairs_of(*rows, self.counted, str(metric.n)), seed),
                higher_is_better=metric.higher_is_better,
                headline=metric.headline,
                forms=((BASE, _key(plan, metric)) in forms, (ADAPTER, _key(plan, metric)) in forms),
            )
            for metric in metrics
        ]


def metric_value(
    metric: Metric, model: str, clusters: Clusters, outcome: Outcome, seed: int, blind: BlindMode | None
) -> Value:
    """A metric of one model, with its interval and what it is over."""
    plan = outcome.plan
    counted = outcome.scores_of(metric)
    return Value(
        model=model,
        **_key(plan, metric)._asdict(),
        **percentile_interval(replicates(clusters, metric, seed))._asdict(),
        n=int(clusters.sums[:, clusters.names.index(metric.n)].sum()),
        images=len(clusters.sums),
        answers=len(counted),
        parse_failures=sum(score.unread.get(metric.name, score.parse_failure) for score in counted),
        missing=outcome.missing_in(metric.n),
        higher_is_better=metric.higher_is_better,
        headline=metric.headline,
        of=(str(metric.of[0]), str(metric.of[1])) if metric.of else None,
        binary=metric.binary,
        blind=blind,
        judge_noise=_judge_noise(metric, outcome) if outcome.repeats else None,
        settings_hash=_settings_hash(plan.settings),
        data=plan.table.facts(),
        unit=BENCHMARKS.get(plan.name).unit,
    )


def _key(plan: Plan, metric: Metric) -> Key:
    return Key(plan.label, metric.name, metric.part)


def _settings_hash(settings: Any) -> str:
    """Of how the benchmark is asked; settings that only say where something lies (`PLACE`) do not count."""
    without = places(settings)
    plain = {name: value for name, value in recipes.as_plain(settings).items() if name not in without}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _judge_noise(metric: Metric, outcome: Outcome) -> JudgeNoise | None:
    """Of a metric, over the times that the judge was asked the same; None where it is defined in fewer than two."""
    every = [float(replicates(repeat.clusters, metric, 0)[0]) for repeat in (outcome, *outcome.repeats)]
    values = [value for value in every if not math.isnan(value)]
    if len(values) < 2:
        return None
    return JudgeNoise(len(values), statistics.stdev(values), min(values), max(values))
