"""Evaluation: benchmarks on a base model and, with an adapter, on both, paired."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref import recipe as recipes
from mmpref.bench.benchmark import BENCHMARKS, Metric, Sample, Score, Task
from mmpref.bench.runner import answer_all
from mmpref.bench.stats import Clusters, difference, estimate
from mmpref.errors import HubError, ImageError, InputError, ModelError, RunError, UsageError
from mmpref.images import decode
from mmpref.run import Run, default_path, open_run, write_atomic
from mmpref.tables import Table, open_table
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

talk = logging.getLogger("mmpref")


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
    dtype: recipes.Dtype = "auto"
    trust_remote_code: bool = False


@dataclass(frozen=True)
class _Plan:
    """One benchmark, ready to be asked."""

    name: str
    settings: Any
    task: Task
    table: Table
    samples: Sequence[Sample]
    missing: int


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
        InputError: benchmark data that cannot be read.
        ModelError: a model or adapter that cannot be loaded.
    """
    if not recipe.benchmarks:
        raise UsageError("No benchmark was named.", f"There are: {', '.join(BENCHMARKS.names())}.")
    recipe = _resolved(recipe)
    run = open_run(output or default_path("evaluate", "-".join(recipe.benchmarks), recipe), "evaluate", recipe)
    with run.lock(), run.forgotten_if_it_fails(lambda: _has_answers(run)):
        plans = [_plan(recipe, name) for name in recipe.benchmarks]
        began = _as_it_began(run, recipe, plans)
        if run.finished:
            return {**run.manifest(), **json.loads((run.path / "results.json").read_text(encoding="utf-8"))}
        policy = cache(lambda: _load(recipe))
        models = ["base", *(["adapter"] if recipe.adapter else [])]
        results: list[dict[str, Any]] = []
        differences: list[dict[str, Any]] = []
        for plan in plans:
            scored = {model: _score(run, plan, model, policy, batch_size, on_progress) for model in models}
            metrics = plan.task.metrics(scored["base"])
            clusters = {
                model: Clusters.of([sample.image_id for sample in plan.samples], scores)
                for model, scores in scored.items()
            }
            for model in models:
                results += [_result(plan, metric, model, clusters[model], scored[model], recipe) for metric in metrics]
            if recipe.adapter:
                differences += [_difference(plan, metric, clusters, recipe) for metric in metrics]
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
        write_atomic(run.path / "results.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        facts = {
            "model": {"id": ref.model, "revision": ref.revision},
            "adapter": began["adapter"],
            "data": {plan.name: plan.table.facts() for plan in plans},
            "seeds": {"bootstrap": recipe.seed},
            "counts": {plan.name: len(plan.samples) for plan in plans},
        }
        return {**run.finish(facts), **content}


def _has_answers(run: Run) -> bool:
    return any(file.stat().st_size for file in run.state.glob("answers-*"))


def _as_it_began(run: Run, recipe: EvaluateRecipe, plans: Sequence[_Plan]) -> dict[str, Any]:
    """What is evaluated on what, and that it is the same as when the run began: answers are kept by sample only.

    Raises:
        ModelError: no such model or adapter.
        RunError: something has changed since.
    """
    from mmpref.vlm.origin import adapter_facts, commit_of

    try:
        now = {
            "model": commit_of(recipe.model, recipe.revision),
            "adapter": adapter_facts(recipe.adapter, recipe.adapter_revision) if recipe.adapter else None,
            "data": {plan.name: plan.table.fingerprint for plan in plans},
        }
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"The model or adapter cannot be found: {reason}", "Check --model and --adapter.") from error
    path = run.state / "began.json"
    if not path.is_file():
        write_atomic(path, json.dumps(now, indent=2) + "\n")
        return now
    before = json.loads(path.read_text(encoding="utf-8"))
    for what in now:
        if before.get(what) != now[what]:
            raise RunError(f"The {what} has changed since {run.path} was begun.", "Choose another --output.")
    return now


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


def _plan(recipe: EvaluateRecipe, name: str) -> _Plan:
    benchmark = BENCHMARKS.get(name)
    settings = recipes.build(benchmark.settings, recipe.benchmark[name], f"benchmark {name}")
    task = benchmark.task(settings)
    table = _open(settings, benchmark.candidates)
    samples = task.samples(table, recipe.limit)
    if not samples:
        raise InputError(f"The data of benchmark {name} ({table.spec}, split {table.split}) has no rows.")
    seen = [sample for sample in samples if _can_be_seen(sample)]
    if not seen:
        raise InputError(f"No image of benchmark {name} ({table.spec}, split {table.split}) can be read.")
    return _Plan(name, settings, task, table, seen, len(samples) - len(seen))


def _can_be_seen(sample: Sample) -> bool:
    """Whether the image can be decoded; without one a question is missing, which is not the same as wrong."""
    try:
        decode(sample.image)
    except ImageError as error:
        talk.warning("Warning: a sample is missing from the score: %s", error)
        return False
    return True


def _open(settings: Any, candidates: Sequence[str]) -> Table:
    """The data that the settings name, or the first of the published repositories that is there."""
    if settings.data is not None:
        return open_table(settings.data, settings.split, config=settings.config)
    for candidate in candidates[:-1]:
        with contextlib.suppress(InputError, HubError):
            return open_table(candidate, settings.split, config=settings.config)
    return open_table(candidates[-1], settings.split, config=settings.config)


def _load(recipe: EvaluateRecipe) -> Policy:
    from mmpref.vlm.policy import Policy

    ref = ModelRef(recipe.model, recipe.revision, recipe.adapter, recipe.adapter_revision)
    return Policy.load(ref, dtype=recipe.dtype, trust_remote_code=recipe.trust_remote_code)


def _score(
    run: Run, plan: _Plan, model: str, policy: Callable[[], Policy], batch_size: int,
    progress: Callable[[int], None] | None,
) -> list[Score]:  # fmt: skip
    from mmpref.vlm.decode import Decoding

    kept = run.state / f"answers-{model}-{plan.name}.jsonl"
    with policy().without_adapter() if model == "base" else contextlib.nullcontext():
        answers = answer_all(policy, plan.samples, Decoding(plan.task.max_new_tokens), kept, batch_size, progress)
    scores = [plan.task.score(sample, answer) for sample, answer in zip(plan.samples, answers, strict=True)]
    _write_samples(run.path / "samples" / f"{model}-{plan.name}.parquet", plan.samples, answers, scores)
    return scores


def _write_samples(path: Path, samples: Sequence[Sample], answers: Sequence[str], scores: Sequence[Score]) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": sample.id,
            "image_id": sample.image_id,
            "prompt": sample.messages[-1].content,
            "reference": json.dumps(sample.reference, ensure_ascii=False),
            "answer": answer,
            "parsed": score.parsed,
            "parse_failure": score.parse_failure,
            "counts": json.dumps(dict(score.counts), sort_keys=True),
        }
        for sample, answer, score in zip(samples, answers, scores, strict=True)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write_atomic(path, buffer.getvalue())


def _result(
    plan: _Plan, metric: Metric, model: str, clusters: Clusters, scores: Sequence[Score], recipe: EvaluateRecipe
) -> dict[str, Any]:
    found = estimate(clusters, metric, recipe.seed)
    column = clusters.names.index(metric.n)
    inside = [score for score in scores if metric.n in score.counts]
    prompt = json.dumps(recipe.benchmark[plan.name], sort_keys=True)
    return {
        "model": model,
        "benchmark": plan.name,
        "split": metric.part,
        "metric": metric.name,
        **dataclasses.asdict(found),
        "n": int(clusters.sums[:, column].sum()),
        "images": len(clusters.sums),
        "parse_failures": sum(score.parse_failure for score in inside),
        "missing": plan.missing,
        "higher_is_better": metric.higher_is_better,
        "settings_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "data": plan.table.facts(),
    }


def _difference(plan: _Plan, metric: Metric, clusters: dict[str, Clusters], recipe: EvaluateRecipe) -> dict[str, Any]:
    return {
        "benchmark": plan.name,
        "split": metric.part,
        "metric": metric.name,
        **dataclasses.asdict(difference(clusters["base"], clusters["adapter"], metric, recipe.seed)),
        "higher_is_better": metric.higher_is_better,
    }
