"""Evaluation: benchmarks on a base model and, with an adapter, on both, paired."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench.answer_cache import CachedAnswerer, shared
from mmpref.bench.answers import Answerer, answer_all, answer_shard, endpoint_answerer, unanswered, unanswered_shard
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.chosen_on import mark_chosen_on, warn_of_choice
from mmpref.bench.identity import data_as_begun, data_facts, pin_identity, ref_of
from mmpref.bench.judging import Judge, JudgedTask, open_judge
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.bench.made_of import refuse_changed
from mmpref.bench.official import asked_of
from mmpref.bench.plan import Plan, load_plans, resolve_settings
from mmpref.bench.progress import Counter, OnProgress
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.replies import read_replies
from mmpref.bench.results import Outcome
from mmpref.bench.reward_answerer import asks_reward_model, check_reward_model, load_reward_model, reward_answerer
from mmpref.bench.score import Scorer
from mmpref.bench.scored_plans import ScoredPlans
from mmpref.bench.suites import refuse_no_key
from mmpref.bench.trained_on import mark_trained_on
from mmpref.distributed import end_collective, main_process_first, num_processes, process_index, wait_for_everyone
from mmpref.errors import MmprefError, UsageError, memory_errors
from mmpref.hub_ids import is_commit, refuse_revision_alone
from mmpref.judges.chat import ChatSettings
from mmpref.judges.resolve import endpoint_of
from mmpref.judges.served import refuse_loading
from mmpref.log import errors_only, logger, warn
from mmpref.reasoning import markers
from mmpref.run.asked import Asked
from mmpref.run.directory import Run, default_path, open_run
from mmpref.run.results import ADAPTER, BASE, Results
from mmpref.tables.in_memory import is_in_memory
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

_SMALLER = "Use a smaller --batch-size: no answer depends on it, and those that there are stay."
_ADAPTED = (
    f"What is called {BASE} here is the model as it was given, with its adapter on; the model without it was not "
    "asked. To set both side by side name the base as model and the adapter's folder as adapter, or give what "
    "load_policy(BASE, adapter=FOLDER) gave."
)
_MENDED = "mended"
"""What is pinned of the processor of the model that answers: what was mended in it."""


def evaluate(
    recipe: EvaluateRecipe,
    output: Path | None = None,
    *,
    batch_size: int = 32,
    concurrency: int = 8,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Score a model on benchmarks, with and without its adapter.

    Args:
        batch_size: samples answered together; the answers do not depend on it.
        concurrency: requests to an endpoint at a time.
        workers: processes that decode and preprocess images ahead of the model; by default
            `mmpref.workers.default_workers`. The answers do not depend on it.
        on_progress: told how many answers and replies there are, of how many, and the benchmark at work.

    Returns:
        The manifest (``run.json``) with the content of ``results.json`` under ``results`` and ``differences``; nothing
        in a process of several that is not the first.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: benchmark data that cannot be read, or none of its images.
        ModelError: a model or adapter that cannot be loaded, or a judge that cannot be reached or understood.
        RunError: a directory of another recipe, or model, adapter or data that changed since the run was begun.
    """
    judge = refuse(recipe, concurrency)
    recipe = spelled_out(recipe)
    with main_process_first():
        run = open_run(output or default_path("evaluate", recipe.title, recipe), "evaluate", recipe)
        finished = run.finished
    if process_index():
        if not finished:
            evaluation = _Evaluation(run, recipe, judge, batch_size, concurrency, workers, None)
            with errors_only(), contextlib.closing(evaluation), memory_errors("the evaluation", _SMALLER):
                evaluation.answer_shard()
        return {}
    with run.lock(), run.discard_on_failure(lambda: any(file.stat().st_size for file in run.state.glob("answers-*"))):
        if finished:
            refuse_changed(run, recipe)
            results = Results.read(run.path)
            warn_of_choice(results.asked)
            return {**run.manifest(), **results.as_dict()}
        evaluation = _Evaluation(run, recipe, judge, batch_size, concurrency, workers, on_progress)
        with contextlib.closing(evaluation):
            evaluation.check_judge()
            with memory_errors("the evaluation", _SMALLER):
                evaluation.answer_shard()
                return evaluation.finish()


def load_data(recipe: EvaluateRecipe) -> list[Plan]:
    """The benchmarks with their data, as the evaluation will read them.

    Raises:
        UsageError, InputError: as `evaluate`.
    """
    return _load_plans(spelled_out(recipe))


def spelled_out(recipe: EvaluateRecipe) -> EvaluateRecipe:
    """The recipe with every setting of its benchmarks: what a run directory belongs to.

    Raises:
        UsageError: unknown benchmark or setting.
    """
    names = tuple(dict.fromkeys(recipe.benchmarks))
    settings = resolve_settings(names, recipe.benchmark, recipe.split, recipe.image_root, recipe.columns)
    return dataclasses.replace(recipe, benchmarks=names, benchmark=settings)


def refuse(recipe: EvaluateRecipe, concurrency: int = 1) -> Judge | None:
    """Refuse a recipe that contradicts itself; who judges.

    Raises:
        UsageError: it does, names an unknown benchmark or setting, or nobody judges what is judged.
    """
    if not recipe.benchmarks:
        raise UsageError("No benchmark was named.", f"There are: {', '.join(BENCHMARKS.names())}.")
    refuse_revision_alone(recipe.adapter, recipe.adapter_revision)
    if recipe.endpoint:
        refuse_loading(
            recipe.model,
            revision=recipe.revision or recipe.adapter_revision,
            quantization=recipe.quantization,
            device_map=recipe.device_map,
        )
    if recipe.adapter and bool(recipe.endpoint) != bool(recipe.adapter_endpoint):
        raise UsageError(
            "Of model and adapter one is behind an endpoint, and the other is not.",
            "Let the server serve the adapter too, and name it so: --adapter=URL#NAME; or load both here.",
        )
    if recipe.endpoint_revision is not None and not recipe.endpoint:
        raise UsageError(f"{recipe.model} is no endpoint, so endpoint_revision has no use.", "Use --revision.")
    if recipe.judge_revision is not None and not (recipe.judge and endpoint_of(recipe.judge)):
        raise UsageError("The judge is no endpoint, so judge_revision has no use.", "A model is named ID@REVISION.")
    markers(recipe.thinking)
    if recipe.endpoint and recipe.blind == "masked":
        raise UsageError("An endpoint cannot hide image tokens from its model.", "Use --blind=no-image.")
    check_reward_model(recipe.benchmarks, recipe.adapter, recipe.blind)
    refuse_no_key(tuple(dict.fromkeys(recipe.benchmarks)))
    return _open_judge(recipe, concurrency)


class _Evaluation:
    """An evaluation that is not finished: its plans, its model, and who judges.

    Args:
        run: whose directory it is; of several processes one writes there, the others only what they were answered.
    """

    def __init__(
        self,
        run: Run,
        recipe: EvaluateRecipe,
        judge: Judge | None,
        batch_size: int,
        concurrency: int,
        workers: int | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._run, self._recipe, self._judge = run, recipe, judge
        self._batch_size, self._on_progress = batch_size, on_progress
        self._models = [BASE, *([ADAPTER] if recipe.adapter else [])]
        endpoints = {BASE: recipe.endpoint, ADAPTER: recipe.adapter_endpoint}
        self._served = {model: endpoint for model, endpoint in endpoints.items() if endpoint}
        self._plans = _load_plans(recipe, data_as_begun(run))
        with main_process_first():
            self._identity = pin_identity(run, ref_of(recipe), self._data_facts(), recipe.judge)
        if is_commit(self._identity["judge"]):
            self._judge = _open_judge(recipe, concurrency, self._identity["judge"])
        self._asked = self._what_is_asked()
        self._policy = cache(self._load_policy)
        self._answerer = self._make_answerer(concurrency, workers)

    def close(self) -> None:
        """End what works ahead."""
        if isinstance(self._answerer, LocalAnswerer | CachedAnswerer):
            self._answerer.close()

    def check_judge(self) -> None:
        """Where answers are still to be judged that are not even written, see that the judge is there.

        Raises:
            ModelError: it is not.
        """
        judged = [plan for plan in self._plans if isinstance(plan.task, JudgedTask)]
        if self._judge and any(unanswered_shard(plan.samples, self._answer_files(plan)) for plan in judged):
            self._judge.ready()

    def answer_shard(self) -> None:
        """Answer this process's part of the samples, where there are several, and wait for the others."""
        if num_processes() == 1:
            return
        shards = [unanswered_shard(plan.samples, self._answer_files(plan)) for plan in self._plans]
        wait_for_everyone()
        sizes = {plan.label: len(shard) * len(self._models) for plan, shard in zip(self._plans, shards, strict=True)}
        counter = Counter(sizes, self._on_progress)
        for plan, shard in zip(self._plans, shards, strict=True):
            counter.begin(plan.label, sizes[plan.label])
            files = self._answer_files(plan)
            answer_shard(self._answerer, shard, plan.task.max_new_tokens, files, self._batch_size, counter.advance)
        end_collective()

    def finish(self) -> dict[str, Any]:
        """Answer what is left, score everything, and finish the run."""
        recipe, run = self._recipe, self._run
        counter = Counter({plan.label: self._work(plan) for plan in self._plans}, self._on_progress)
        scorer = Scorer(run, self._judge, recipe.judge_repeats, counter.advance)
        scored = ScoredPlans(run.path, self._judge, recipe.seed, recipe.blind)
        for plan in self._plans:
            answers = self._answers(plan, counter)
            outcomes, judgements = self._outcomes(plan, answers, scorer)
            scored.add(plan, self._asked[plan.label], answers, outcomes, judgements)
        results = scored.write(self._model_refs(), self._identity["adapter"])
        mended, served = run.pinned(_MENDED), self._served.items()
        facts = {
            "model": {**self._identity["model"], **({"mended": mended} if mended else {})},
            **({"model_weights": weights} if (weights := self._identity["weights"]) else {}),
            "adapter": self._identity["adapter"],
            **({"server": {model: {"url": url, "model": name} for model, (url, name) in served}} if served else {}),
            "data": self._identity["data"],
            "seeds": {"bootstrap": recipe.seed},
            "counts": {plan.label: len(plan.samples) for plan in self._plans},
            "processes": num_processes(),
            **scored.facts(),
        }
        return {**run.finish(facts), **results.as_dict()}

    def _work(self, plan: Plan) -> int:
        """How many answers, and replies of a judge, a benchmark takes."""
        replies = self._recipe.judge_repeats if isinstance(plan.task, JudgedTask) else 0
        return len(plan.samples) * len(self._models) * (1 + replies)

    def _data_facts(self) -> dict[str, dict[str, Any]]:
        settings = self._recipe.benchmark
        return {plan.name: data_facts(plan.table, plan.samples, settings[plan.name]) for plan in self._plans}

    def _what_is_asked(self) -> dict[str, Asked]:
        """By what results call the benchmarks; it is warned of data that chose the adapter."""
        recipe, asked = self._recipe, {}
        for plan in self._plans:
            samples = self._identity["data"][plan.name]["samples"]
            judge_prompt = recipe.judge_prompt if isinstance(plan.task, JudgedTask) else None
            others = {"judge_prompt": judge_prompt, "thinking": list(recipe.thinking) or None}
            asked[plan.label] = asked_of(plan, samples, recipe.limit, **others)
        if self._served:
            names = {model: name for model, (_, name) in self._served.items()}
            return {label: dataclasses.replace(of, served=names) for label, of in asked.items()}
        if not (adapter := self._identity["adapter"]):
            return self._marked_as_adapted(asked)
        samples = {plan.label: plan.samples for plan in self._plans}
        ref = ModelRef(recipe.model, None, adapter["id"], adapter["revision"])
        return mark_trained_on(mark_chosen_on(asked, samples, ref), samples, ref)

    def _marked_as_adapted(self, asked: dict[str, Asked]) -> dict[str, Asked]:
        """With a remark where what results call the base is a model in memory that has an adapter on."""
        from mmpref.vlm.adapters import has_adapter_on
        from mmpref.vlm.loaded_models import registered_policy

        model = self._recipe.model
        policy = registered_policy(ModelRef(model)) if is_in_memory(model) else None
        if policy is None or not has_adapter_on(policy.model):
            return asked
        warn(_ADAPTED)
        return {label: dataclasses.replace(of, remarks=(*of.remarks, _ADAPTED)) for label, of in asked.items()}

    def _answers(self, plan: Plan, counter: Counter) -> dict[str, list[str | MmprefError]]:
        """Of each model, or why there is none."""
        files, limit = self._answer_files(plan), plan.task.max_new_tokens
        answered = (len(plan.samples) - len(unanswered(plan.samples, files))) * len(self._models)
        counter.begin(plan.label, self._work(plan) - answered)
        return answer_all(self._answerer, plan.samples, limit, files, self._batch_size, counter.advance)

    def _outcomes(
        self, plan: Plan, answers: Mapping[str, Sequence[str | MmprefError]], scorer: Scorer
    ) -> tuple[dict[str, Outcome], list[dict[str, Any]]]:
        """Of each model, and what its judge replied."""
        thinking, rendered = markers(self._recipe.thinking), not self._recipe.endpoint
        outcomes, judgements = {}, []
        for model in self._models:
            replies = read_replies(answers[model], plan, thinking, rendered=rendered, quiet=model != BASE)
            outcomes[model], judged = scorer.score(plan, model, replies)
            judgements += judged
        return outcomes, judgements

    def _answer_files(self, plan: Plan) -> dict[str, Path]:
        """Where the answers of each model are kept while the run lasts."""
        return {model: self._run.state / f"answers-{model}-{plan.label}.jsonl" for model in self._models}

    def _make_answerer(self, concurrency: int, workers: int | None) -> Answerer:
        recipe = self._recipe
        if self._served:
            return endpoint_answerer(self._served, concurrency, send_images=not recipe.blind)
        if asks_reward_model(recipe.benchmarks):
            return reward_answerer(self._policy, recipe.blind)
        local = LocalAnswerer(self._policy, recipe.blind, markers(recipe.thinking), workers)
        return shared(local, recipe, self._identity)

    def _load_policy(self) -> Policy:
        """The model and adapter at the commits that the run is pinned to."""
        from mmpref.vlm.load import load_policy
        from mmpref.vlm.pool_memory import pool_memory

        recipe = self._recipe
        commit = (self._identity["adapter"] or {}).get("revision")
        revision = self._identity["model"]["revision"]
        ref = ModelRef(recipe.model, revision, recipe.adapter, commit or recipe.adapter_revision)
        load = load_reward_model if asks_reward_model(recipe.benchmarks) else load_policy
        policy = load(
            ref,
            dtype=recipe.dtype,
            quantization=recipe.quantization,
            device_map=recipe.device_map,
            trust_remote_code=recipe.trust_remote_code,
        )
        if policy.mended:
            self._run.pin(_MENDED, policy.mended)
        if policy.device.type != "cpu" and (memory := pool_memory(policy)):
            policy.pool_tokens = memory.tokens
            logger.info("%s: %d tokens are decoded together.", memory, memory.tokens)
        return policy

    def _model_refs(self) -> dict[str, ModelRef]:
        recipe = self._recipe
        served = ModelRef(recipe.model, recipe.endpoint_revision, recipe.adapter)
        ref = served if self._served else self._policy().ref
        base = {BASE: ModelRef(ref.model, ref.revision)}
        return {**base, ADAPTER: ref} if recipe.adapter else base


def _load_plans(recipe: EvaluateRecipe, begun: Mapping[str, Mapping[str, Any]] | None = None) -> list[Plan]:
    labels = {name: recipe.label(name) for name in recipe.benchmarks}
    return load_plans(labels, recipe.benchmark, recipe.limit, begun)


def _open_judge(recipe: EvaluateRecipe, concurrency: int, commit: str | None = None) -> Judge | None:
    """Who judges.

    Args:
        commit: of a model of the Hub, at which it is asked.

    Raises:
        UsageError: as of `mmpref.bench.judging.open_judge`.
    """
    chat = ChatSettings(
        recipe.judge_temperature,
        recipe.judge_max_tokens,
        concurrency,
        revision=recipe.judge_revision,
        thinking=recipe.thinking,
    )
    names = tuple(dict.fromkeys(recipe.benchmarks))
    return open_judge(names, recipe.judge, recipe.judge_prompt, recipe.judge_repeats, chat, commit)
