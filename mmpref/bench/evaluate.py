"""Evaluation: benchmarks on a base model and, with an adapter, on both, paired."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref import recipe as recipes
from mmpref.bench.began import as_it_began, data_facts
from mmpref.bench.benchmark import BENCHMARKS, Metric, Sample, Score, Task
from mmpref.bench.groups import counted
from mmpref.bench.runner import Blind, answer_all
from mmpref.bench.significance import bootstrap_p, holm, mcnemar
from mmpref.bench.stats import Clusters, interval, moved, replicates
from mmpref.errors import HubError, ImageError, InputError, UsageError
from mmpref.run import Run, default_path, open_run, write_atomic
from mmpref.tables import Table, open_table
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

talk = logging.getLogger("mmpref")

RESAMPLES = "resamples.parquet"
"""Every metric of every model in the data and in each resample of images, for paired comparisons with other runs."""


@dataclass(frozen=True)
class EvaluateRecipe:
    """Everything that decides the results. The batch size does not, so it is not here.

    Args:
        model, revision: the base.
        adapter, adapter_revision: scored beside the base, if given.
        benchmarks: names.
        benchmark: settings of each by name.
        split: of all benchmarks, instead of their own.
        limit: first samples of each only.
        seed: of the bootstrap.
        blind: the image-blind control: every benchmark is asked without its images, and named so.
        dtype, trust_remote_code: of the model.
    """

    model: str
    benchmarks: tuple[str, ...]
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    benchmark: dict[str, Any] = field(default_factory=dict)
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    blind: Blind | None = None
    dtype: recipes.Dtype = "auto"
    trust_remote_code: bool = False

    def label(self, benchmark: str) -> str:
        """What the results of a benchmark are called: those of a blind model never have a sighted one's name."""
        return f"{benchmark}-blind-{self.blind}" if self.blind else benchmark

    @property
    def title(self) -> str:
        """All of them, for the name of the run's folder."""
        return "-".join(map(self.label, self.benchmarks))


@dataclass(frozen=True)
class Plan:
    """One benchmark, ready to be asked.

    Args:
        label: what its results are called.
    """

    name: str
    label: str
    settings: Any
    task: Task
    table: Table
    samples: Sequence[Sample]


@dataclass(frozen=True)
class _Outcome:
    """What one model made of a benchmark.

    Args:
        scores: of each sample, of an empty answer where it is missing.
        missing: ids of the samples whose image cannot be seen; missing is not wrong, so they do not count.
    """

    plan: Plan
    scores: Sequence[Score]
    missing: frozenset[str]

    @property
    def answered(self) -> list[tuple[Sample, Score]]:
        pairs = zip(self.plan.samples, self.scores, strict=True)
        return [(sample, score) for sample, score in pairs if sample.id not in self.missing]

    @property
    def clusters(self) -> Clusters:
        return Clusters.of([sample.image_id for sample, _ in self.answered], [score for _, score in self.answered])

    def missing_in(self, count: str) -> int:
        """How many missing samples the count would have been over."""
        pairs = zip(self.plan.samples, self.scores, strict=True)
        return sum(sample.id in self.missing and count in score.counts for sample, score in pairs)


def evaluate(
    recipe: EvaluateRecipe,
    output: Path | None = None,
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Score a model on benchmarks, with and without its adapter.

    Args:
        batch_size: samples answered together; the answers do not depend on it.
        on_progress: told how many samples were answered.

    Returns:
        The manifest (``run.json``) with the content of ``results.json`` under ``results`` and ``differences``.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: benchmark data that cannot be read, or none of its images.
        ModelError: a model or adapter that cannot be loaded.
        RunError: a directory of another recipe, or model, adapter or data that changed since the run was begun.
    """
    if not recipe.benchmarks:
        raise UsageError("No benchmark was named.", f"There are: {', '.join(BENCHMARKS.names())}.")
    recipe = _resolved(recipe)
    run = open_run(output or default_path("evaluate", recipe.title, recipe), "evaluate", recipe)
    with run.lock(), run.forgotten_if_it_fails(lambda: _has_answers(run)):
        if run.finished:
            _check_finished(run, recipe)
            return {**run.manifest(), **json.loads((run.path / "results.json").read_text(encoding="utf-8"))}
        plans = [planned(recipe, name) for name in recipe.benchmarks]
        began = _began(run, recipe, plans)
        policy = cache(lambda: _load(recipe, began))
        models = ["base", *(["adapter"] if recipe.adapter else [])]
        results: list[dict[str, Any]] = []
        differences: list[dict[str, Any]] = []
        missing: dict[str, int] = {}
        drawn: list[dict[str, Any]] = []
        for plan in plans:
            outcomes = {
                model: _score(run, plan, model, policy, batch_size, on_progress, recipe.blind) for model in models
            }
            metrics = plan.task.metrics([score for _, score in outcomes["base"].answered])
            clusters = {model: outcome.clusters for model, outcome in outcomes.items()}
            for model in models:
                results += [_result(metric, model, clusters[model], outcomes[model], recipe) for metric in metrics]
            missing[plan.label] = len(outcomes["base"].missing)
            if recipe.adapter:
                differences += [_difference(plan, metric, clusters, recipe) for metric in metrics]
            drawn += [
                {"model": model, "benchmark": plan.label, "metric": metric.name, "split": metric.part,
                 "values": replicates(clusters[model], metric, recipe.seed)}
                for model in models for metric in metrics
            ]  # fmt: skip
        _correct(differences)
        ref = policy().ref
        content = {
            "models": [
                {"name": "base", "ref": dataclasses.asdict(ModelRef(ref.model, ref.revision))},
                *([{"name": "adapter", "ref": dataclasses.asdict(ref)}] if recipe.adapter else []),
            ],
            "adapter": began["adapter"],
            "results": results,
            "differences": differences,
        }
        write_atomic(run.path / RESAMPLES, _parquet(drawn))
        write_atomic(run.path / "results.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        facts = {
            "model": began["model"],
            "adapter": began["adapter"],
            "data": began["data"],
            "seeds": {"bootstrap": recipe.seed},
            "counts": {plan.label: len(plan.samples) for plan in plans},
            "missing": missing,
        }
        return {**run.finish(facts), **content}


def _has_answers(run: Run) -> bool:
    return any(file.stat().st_size for file in run.state.glob("answers-*"))


def _began(run: Run, recipe: EvaluateRecipe, plans: Sequence[Plan]) -> dict[str, Any]:
    data = {plan.name: data_facts(plan.table, plan.samples, recipe.benchmark[plan.name]) for plan in plans}
    return as_it_began(run, ModelRef(recipe.model, recipe.revision, recipe.adapter, recipe.adapter_revision), data)


def _check_finished(run: Run, recipe: EvaluateRecipe) -> None:
    """Refuse to show the results of another adapter or other data as this recipe's; with no Hub to ask, say so."""
    try:
        _began(run, recipe, [planned(recipe, name) for name in recipe.benchmarks])
    except HubError as error:
        talk.warning("Warning: whether the data of %s are still the same could not be checked: %s", run.path, error)


def _resolved(recipe: EvaluateRecipe) -> EvaluateRecipe:
    """The recipe with every benchmark's settings spelled out."""
    unknown = set(recipe.benchmark) - set(BENCHMARKS.names())
    if unknown:
        BENCHMARKS.get(sorted(unknown)[0])
    blocks = {}
    for name in recipe.benchmarks:
        values = dict(recipe.benchmark.get(name) or {})
        if recipe.split:
            values["split"] = recipe.split
        blocks[name] = recipes.as_plain(recipes.build(BENCHMARKS.get(name).settings, values, f"benchmark {name}"))
    return dataclasses.replace(recipe, benchmark=blocks)


def planned(recipe: EvaluateRecipe, name: str) -> Plan:
    """A benchmark with its data read.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: data that cannot be read, or have no rows.
    """
    benchmark = BENCHMARKS.get(name)
    settings = recipes.build(benchmark.settings, recipe.benchmark[name], f"benchmark {name}")
    task = benchmark.task(settings)
    table = _open(name, settings, benchmark.candidates)
    samples = task.samples(table, recipe.limit)
    if not samples:
        raise InputError(f"The data of benchmark {name} ({table.spec}, split {table.split}) has no rows.")
    return Plan(name, recipe.label(name), settings, task, table, samples)


def _open(name: str, settings: Any, candidates: Sequence[str]) -> Table:
    """The data that the settings name, or the first of the published repositories that is there."""
    if settings.data is not None:
        return open_table(settings.data, settings.split, config=settings.config)
    if not candidates:
        raise UsageError(f"The benchmark {name} has no data on the Hub that mmpref knows.",
                         f"Give --set benchmark.{name}.data=PATH (see `mmpref list benchmarks`).")  # fmt: skip
    for candidate in candidates[:-1]:
        with contextlib.suppress(InputError, HubError):
            return open_table(candidate, settings.split, config=settings.config)
    return open_table(candidates[-1], settings.split, config=settings.config)


def _load(recipe: EvaluateRecipe, began: Mapping[str, Any]) -> Policy:
    """The model and adapter at the commits that the run is pinned to."""
    from mmpref.vlm.policy import Policy

    commit = (began["adapter"] or {}).get("revision")
    ref = ModelRef(recipe.model, began["model"]["revision"], recipe.adapter, commit or recipe.adapter_revision)
    return Policy.load(ref, dtype=recipe.dtype, trust_remote_code=recipe.trust_remote_code)


def _score(
    run: Run, plan: Plan, model: str, policy: Callable[[], Policy], batch_size: int,
    progress: Callable[[int], None] | None, blind: Blind | None,
) -> _Outcome:  # fmt: skip
    from mmpref.vlm.decode import Decoding

    kept = run.state / f"answers-{model}-{plan.label}.jsonl"
    decoding = Decoding(plan.task.max_new_tokens)
    with policy().without_adapter() if model == "base" else contextlib.nullcontext():
        answers = answer_all(policy, plan.samples, decoding, kept, batch_size, progress, blind)
    reasons = [answer for answer in answers if isinstance(answer, ImageError)]
    if len(reasons) == len(answers):
        raise InputError(
            f"No image of benchmark {plan.name} ({plan.table.spec}, split {plan.table.split}) can be read: {reasons[0]}"
        )
    if reasons and model == "base":
        talk.warning("Warning: %d of %d samples of %s are missing, their images cannot be read; the score is over the "
                     "others. First: %s", len(reasons), len(answers), plan.name, reasons[0])  # fmt: skip
    read = [None if isinstance(answer, ImageError) else answer for answer in answers]
    pairs = list(zip(plan.samples, read, strict=True))
    missing = frozenset(sample.id for sample, answer in pairs if answer is None)
    scores = counted(plan.samples, [plan.task.score(sample, answer or "") for sample, answer in pairs], missing)
    _write_samples(run.path / "samples" / f"{model}-{plan.label}.parquet", plan.samples, read, scores)
    return _Outcome(plan, scores, missing)


def _write_samples(
    path: Path, samples: Sequence[Sample], answers: Sequence[str | None], scores: Sequence[Score]
) -> None:
    rows = [
        {
            "id": sample.id,
            "image_id": sample.image_id,
            "prompt": sample.messages[-1].content,
            "reference": json.dumps(sample.reference, ensure_ascii=False),
            "answer": answer,
            "missing": answer is None,
            "parsed": None if answer is None else score.parsed,
            "parse_failure": answer is not None and score.parse_failure,
            "counts": json.dumps({} if answer is None else dict(score.counts), sort_keys=True),
        }
        for sample, answer, score in zip(samples, answers, scores, strict=True)
    ]
    write_atomic(path, _parquet(rows))


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def _result(
    metric: Metric, model: str, clusters: Clusters, outcome: _Outcome, recipe: EvaluateRecipe
) -> dict[str, Any]:
    plan = outcome.plan
    found = interval(replicates(clusters, metric, recipe.seed))
    column = clusters.names.index(metric.n)
    inside = [score for _, score in outcome.answered if metric.n in score.counts]
    prompt = json.dumps(recipe.benchmark[plan.name], sort_keys=True)
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
        "of": list(metric.of) if metric.of else None,
        "binary": metric.binary,
        "blind": recipe.blind,
        "settings_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "data": plan.table.facts(),
    }


def _difference(plan: Plan, metric: Metric, clusters: dict[str, Clusters], recipe: EvaluateRecipe) -> dict[str, Any]:
    change = moved(clusters["base"], clusters["adapter"], metric, recipe.seed)
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


def _correct(differences: Sequence[dict[str, Any]]) -> None:
    """Write ``p_holm`` where claims are made: one family over all benchmarks of the run."""
    claims = [row for row in differences if row["headline"]]
    for row, p in zip(claims, holm([row["p"] for row in claims]), strict=True):
        row["p_holm"] = p
