"""What models made of a benchmark, as rows of ``results.json``: values with intervals, paired differences, p-values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmpref.bench.benchmark import CountKey, Metric, Sample, Score
from mmpref.bench.bootstrap import Clusters, interval, moved, replicates
from mmpref.bench.plan import Plan
from mmpref.bench.recipe import BlindMode
from mmpref.bench.significance import bootstrap_p, holm, mcnemar
from mmpref.recipe import schema as recipes

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one model made of a benchmark.

    Args:
        scores: of each sample, of an empty answer where it is missing.
        missing: ids of the samples whose image cannot be seen, or that have no readable verdict; missing is not wrong,
            so they do not count.
        verdicts: counts of the judge's replies, where there is one; of all times that it was asked.
        again: the same answers, as the judge saw them when it was asked again.
        reasoned, unfinished: how many replies had a block of reasoning, and how many never came to an answer.
        unread: the first reply of the judge that could not be read.
    """

    plan: Plan
    scores: Sequence[Score]
    missing: frozenset[str]
    verdicts: Mapping[str, float] = field(default_factory=dict)
    again: Sequence[Outcome] = ()
    reasoned: int = 0
    unfinished: int = 0
    unread: str = ""

    def without(self, missing: frozenset[str]) -> Outcome:
        """The same with more samples missing."""
        return dataclasses.replace(self, missing=self.missing | missing)

    @property
    def answered(self) -> list[tuple[Sample, Score]]:
        pairs = zip(self.plan.samples, self.scores, strict=True)
        return [(sample, score) for sample, score in pairs if sample.id not in self.missing]

    @property
    def clusters(self) -> Clusters:
        names = {name for score in self.scores for name in score.counts}
        return Clusters.of([s.image_id for s, _ in self.answered], [score for _, score in self.answered], names)

    def missing_in(self, count: CountKey | str) -> int:
        """How many missing samples the count would have been over."""
        pairs = zip(self.plan.samples, self.scores, strict=True)
        return sum(sample.id in self.missing and count in score.counts for sample, score in pairs)


def result(metric: Metric, model: str, clusters: Clusters, outcome: Outcome, seed: int, blind: BlindMode | None) -> Row:
    """A metric of one model, with its interval and what it is over."""
    plan = outcome.plan
    found = interval(replicates(clusters, metric, seed))
    column = clusters.names.index(metric.n)
    inside = [score for _, score in outcome.answered if metric.n in score.counts]
    places = {one.name for one in dataclasses.fields(plan.settings) if one.metadata.get("place")}
    asked = {name: value for name, value in recipes.as_plain(plan.settings).items() if name not in places}
    prompt = json.dumps(asked, sort_keys=True)
    return {
        "model": model,
        "benchmark": plan.label,
        "split": metric.part,
        "metric": metric.name,
        **dataclasses.asdict(found),
        "n": int(clusters.sums[:, column].sum()),
        "images": len(clusters.sums),
        "parse_failures": sum(score.parse_failure for score in inside),
        "missing": outcome.missing_in(metric.n),
        "higher_is_better": metric.higher_is_better,
        "headline": metric.headline,
        "of": list(map(str, metric.of)) if metric.of else None,
        "binary": metric.binary,
        "blind": blind,
        **({"judge_noise": _noise(metric, outcome)} if outcome.again else {}),
        "settings_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "data": plan.table.facts(),
    }


def _noise(metric: Metric, outcome: Outcome) -> dict[str, float]:
    """Standard deviation of a metric over the times that the judge was asked the same, and its extremes."""
    rounds = [one.clusters for one in (outcome, *outcome.again)]
    values = [float(replicates(clusters, metric, 0)[0]) for clusters in rounds]
    return {"repeats": len(values), "deviation": statistics.stdev(values), "low": min(values), "high": max(values)}


def difference(plan: Plan, metric: Metric, clusters: Mapping[str, Clusters], seed: int) -> Row:
    """What the adapter changed of a metric, paired by image; ``p_holm`` is left to `correct`."""
    change = moved(clusters["base"], clusters["adapter"], metric, seed)
    if metric.binary and metric.of:
        base, adapter = (
            clusters[model].sums[:, clusters[model].names.index(metric.of[0])] for model in ("base", "adapter")
        )
        p, test = mcnemar((adapter - base).tolist()), "McNemar"
    else:
        p, test = bootstrap_p(change), "bootstrap"
    return {
        "benchmark": plan.label,
        "split": metric.part,
        "metric": metric.name,
        **dataclasses.asdict(interval(change)),
        "higher_is_better": metric.higher_is_better,
        "headline": metric.headline,
        "p": p,
        "test": test,
        "p_holm": None,
    }


def correct(differences: Sequence[Row]) -> None:
    """Write ``p_holm`` where claims are made: one family over all benchmarks of the run."""
    claims = [row for row in differences if row["headline"]]
    for row, p in zip(claims, holm([row["p"] for row in claims]), strict=True):
        row["p_holm"] = p
