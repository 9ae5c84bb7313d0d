"""Evaluation: benchmarks on a base model and, with an adapter, on both, paired."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.bench import reward_answerer
from mmpref.bench.answers import Answerer, answer_all, answer_share, loaded, served, share_of
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.bootstrap import replicates
from mmpref.bench.groups import counted
from mmpref.bench.identity import as_it_began, data_facts
from mmpref.bench.judging import Judge, JudgedTask, ask_all, open_judge
from mmpref.bench.plan import planned, resolved
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import records_path, write_records, write_resamples
from mmpref.bench.replies import Replies, replies
from mmpref.bench.results import Outcome, Plan, metric_difference, metric_value
from mmpref.bench.significance import with_holm
from mmpref.distributed import end_collective, main_process_first, num_processes, process_index, wait_for_everyone
from mmpref.errors import HubError, MmprefError, UsageError
from mmpref.judges.chat import ChatSettings
from mmpref.judges.resolve import endpoint_of
from mmpref.log import logger
from mmpref.reasoning import markers
from mmpref.run.directory import Run, default_path, open_run
from mmpref.run.files import write_atomic
from mmpref.run.results import ADAPTER, BASE, Difference, Key, Results, Value
from mmpref.types import ModelRef

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.policy import Policy

MENDED = "mended.json"


def evaluate(
    recipe: EvaluateRecipe,
    output: Path | None = None,
    *,
    batch_size: int = 32,
    concurrency: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Score a model on benchmarks, with and without its adapter.

    Args:
        batch_size: samples answered together; the answers do not depend on it.
        concurrency: requests to an endpoint at a time.
        on_progress: told how many samples were answered.

    Returns:
        The manifest (``run.json``) with the content of ``results.json`` under ``results`` and ``differences``; nothing
        in a process of several that is not the first.

    Raises:
        UsageError: unknown benchmark or setting.
        InputError: benchmark data that cannot be read, or none of its images.
        ModelError: a model or adapter that cannot be loaded, or a judge that cannot be reached or understood.
        RunError: a directory of another recipe, or model, adapter or data that changed since the run was begun.
    """
    _check(recipe)
    recipe = resolved(recipe)
    judge = _judge(recipe, concurrency)
    with main_process_first():
        run = open_run(output or default_path("evaluate", recipe.title, recipe), "evaluate", recipe)
        finished = run.finished
    if process_index():
        logger.setLevel(logging.ERROR)
        if not finished:
            _Work(run, recipe, judge, batch_size, concurrency, None).share()
        return {}
    with run.lock(), run.forgotten_if_it_fails(lambda: _has_answers(run)):
        if finished:
            _check_finished(run, recipe)
            return {**run.manifest(), **Results.read(run.path).as_dict()}
        work = _Work(run, recipe, judge, batch_size, concurrency, on_progress)
        work.check_judge()
        work.share()
        return work.results()


def _check(recipe: EvaluateRecipe) -> None:
    if not recipe.benchmarks:
        raise UsageError("No benchmark was named.", f"There are: {', '.join(BENCHMARKS.names())}.")
    if recipe.endpoint and (recipe.adapter or recipe.revision):
        raise UsageError(
            f"{recipe.model} is a model behind an endpoint, which has no revision or adapter here.",
            "Let the server serve the adapter, and name it as the model.",
        )
    if recipe.endpoint and (recipe.quantization or recipe.device_map):
        raise UsageError(f"{recipe.model} is a model behind an endpoint: it is loaded as its server was told.")
    if recipe.endpoint_revision is not None and not recipe.endpoint:
        raise UsageError(f"{recipe.model} is no endpoint, so endpoint_revision has no use.", "Use --revision.")
    if recipe.judge_revision is not None and not (recipe.judge and endpoint_of(recipe.judge)):
        raise UsageError("The judge is no endpoint, so judge_revision has no use.", "A model is named ID@REVISION.")
    markers(recipe.thinking)
    if recipe.endpoint and recipe.blind == "masked":
        raise UsageError("An endpoint cannot hide image tokens from its model.", "Use --blind no-image.")
    reward_answerer.asked_for(recipe)


class _Work:
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
        progress: Callable[[int], None] | None,
    ) -> None:
        self._run, self._recipe, self._judge = run, recipe, judge
        self._batch_size, self._progress = batch_size, progress
        self._models = [BASE, *([ADAPTER] if recipe.adapter else [])]
        self._plans = [planned(recipe, name) for name in recipe.benchmarks]
        with main_process_first():
            self._facts = _began(run, recipe, self._plans)
        self._policy = cache(lambda: _load(run, recipe, self._facts))
        self._answerer = _answerer(recipe, self._policy, concurrency)

    def check_judge(self) -> None:
        """Where answers are still to be judged that are not even written, see that the judge is there.

        Raises:
            ModelError: it is not.
        """
        judged = [plan for plan in self._plans if isinstance(plan.task, JudgedTask)]
        if self._judge and any(share_of(plan.samples, self._kept(plan)) for plan in judged):
            self._judge.ready()

    def share(self) -> None:
        """Answer this process's part of the samples, where there are several, and wait for the others."""
        if num_processes() == 1:
            return
        shares = [share_of(plan.samples, self._kept(plan)) for plan in self._plans]
        wait_for_everyone()
        for plan, share in zip(self._plans, shares, strict=True):
            answer_share(
                self._answerer, share, plan.task.max_new_tokens, self._kept(plan), self._batch_size, self._progress
            )
        end_collective()

    def results(self) -> dict[str, Any]:
        """Answer what is left, score everything, and finish the run."""
        recipe, run = self._recipe, self._run
        values: list[Value] = []
        differences: list[Difference] = []
        missing: dict[str, int] = {}
        resamples: dict[tuple[str, Key], np.ndarray] = {}
        judged: dict[str, Any] = {}
        thought: dict[str, Any] = {}
        judgements: list[dict[str, Any]] = []
        for plan in self._plans:
            answers = answer_all(
                self._answerer,
                plan.samples,
                plan.task.max_new_tokens,
                self._kept(plan),
                self._batch_size,
                self._progress,
            )
            outcomes = {
                model: _score(
                    run,
                    plan,
                    model,
                    self._read(plan, model, answers[model]),
                    self._judge,
                    recipe.judge_repeats,
                    judgements,
                    self._progress,
                )
                for model in self._models
            }
            metrics = plan.task.metrics([score for outcome in outcomes.values() for _, score in outcome.answered])
            if self._judge and isinstance(plan.task, JudgedTask):
                metrics = [self._judge.named(metric, plan.task) for metric in metrics]
                judged[plan.label] = {model: _replies(outcome) for model, outcome in outcomes.items()}
            if any(outcome.reasoned for outcome in outcomes.values()):
                thought[plan.label] = {
                    model: {"reasoned": outcome.reasoned, "unfinished": outcome.unfinished}
                    for model, outcome in outcomes.items()
                }
            clusters = {model: outcome.clusters for model, outcome in outcomes.items()}
            for model in self._models:
                values += [
                    metric_value(metric, model, clusters[model], outcomes[model], recipe.seed, recipe.blind)
                    for metric in metrics
                ]
            missing[plan.label] = len(outcomes[BASE].missing)
            if recipe.adapter:
                # Where a judge failed on one model's answer, the pair is missing.
                holes = frozenset[str]().union(*(outcome.missing for outcome in outcomes.values()))
                paired = {model: outcome.without(holes).clusters for model, outcome in outcomes.items()}
                differences += [metric_difference(plan, metric, paired, recipe.seed) for metric in metrics]
            resamples |= {
                (model, Key(plan.label, metric.name, metric.part)): replicates(clusters[model], metric, recipe.seed)
                for model in self._models
                for metric in metrics
            }
        results = Results(
            self._model_refs(), tuple(values), tuple(with_holm(differences)), self._facts["adapter"], thought
        )
        write_resamples(run.path, resamples)
        if judgements:
            lines = [json.dumps(judgement, ensure_ascii=False) + "\n" for judgement in judgements]
            write_atomic(run.path / "judgements.jsonl", "".join(lines))
        results.write(run.path)
        facts = {
            "model": {**self._facts["model"], **_mended(run)},
            "adapter": self._facts["adapter"],
            "data": self._facts["data"],
            "seeds": {"bootstrap": recipe.seed},
            "counts": {plan.label: len(plan.samples) for plan in self._plans},
            "missing": missing,
            "processes": num_processes(),
            **({"judge": self._judge.facts(judged)} if self._judge else {}),
        }
        return {**run.finish(facts), **results.as_dict()}

    def _read(self, plan: Plan, model: str, said: Sequence[str | MmprefError]) -> Replies:
        """What there is to score of a model's answers."""
        known = markers(self._recipe.thinking)
        return replies(said, plan, known, seen=not self._recipe.endpoint, quiet=model != BASE)

    def _kept(self, plan: Plan) -> dict[str, Path]:
        """Where the answers of each model are kept while the run lasts."""
        return {model: self._run.state / f"answers-{model}-{plan.label}.jsonl" for model in self._models}

    def _model_refs(self) -> dict[str, ModelRef]:
        served = ModelRef(self._recipe.model, self._recipe.endpoint_revision)
        ref = served if self._recipe.endpoint else self._policy().ref
        base = {BASE: ModelRef(ref.model, ref.revision)}
        return {**base, ADAPTER: ref} if self._recipe.adapter else base


def _has_answers(run: Run) -> bool:
    return any(file.stat().st_size for file in run.state.glob("answers-*"))


def _began(run: Run, recipe: EvaluateRecipe, plans: Sequence[Plan]) -> dict[str, Any]:
    data = {plan.name: data_facts(plan.table, plan.samples, recipe.benchmark[plan.name]) for plan in plans}
    revision = recipe.endpoint_revision if recipe.endpoint else recipe.revision
    return as_it_began(run, ModelRef(recipe.model, revision, recipe.adapter, recipe.adapter_revision), data)


def _check_finished(run: Run, recipe: EvaluateRecipe) -> None:
    """Refuse to show the results of another adapter or other data as this recipe's; with no Hub to ask, say so."""
    try:
        _began(run, recipe, [planned(recipe, name) for name in recipe.benchmarks])
    except HubError as error:
        logger.warning("Warning: whether the data of %s are still the same could not be checked: %s", run.path, error)


def _answerer(recipe: EvaluateRecipe, policy: Callable[[], Policy], concurrency: int) -> Answerer:
    if recipe.endpoint:
        return served(*recipe.endpoint, concurrency, sees=not recipe.blind)
    if reward_answerer.asked_for(recipe):
        return reward_answerer.answerer(policy, recipe.blind)
    return loaded(policy, recipe.blind, markers(recipe.thinking))


def _load(run: Run, recipe: EvaluateRecipe, began: Mapping[str, Any]) -> Policy:
    """The model and adapter at the commits that the run is pinned to."""
    from mmpref.vlm.load import load_policy

    commit = (began["adapter"] or {}).get("revision")
    ref = ModelRef(recipe.model, began["model"]["revision"], recipe.adapter, commit or recipe.adapter_revision)
    load = reward_answerer.load if reward_answerer.asked_for(recipe) else load_policy
    policy = load(
        ref,
        dtype=recipe.dtype,
        quantization=recipe.quantization,
        device_map=recipe.device_map,
        trust_remote_code=recipe.trust_remote_code,
    )
    if policy.mended:
        write_atomic(run.state / MENDED, json.dumps(policy.mended) + "\n")
    return policy


def _mended(run: Run) -> dict[str, Any]:
    """What was mended in the processor of the model that answered, in this session or an earlier one."""
    file = run.state / MENDED
    return {"mended": json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else {}


def _replies(outcome: Outcome) -> dict[str, Any]:
    """What came of a judge's replies, for the manifest."""
    counts = outcome.verdicts
    said = counts["unreadable"] + counts["read"]
    share = {"unreadable_share": counts["unreadable"] / said} if said else {}
    return {**counts, **share, **({"unreadable_example": outcome.unread} if outcome.unread else {})}


def _score(
    run: Run,
    plan: Plan,
    model: str,
    replies: Replies,
    judge: Judge | None,
    repeats: int,
    judgements: list[dict[str, Any]],
    progress: Callable[[int], None] | None,
) -> Outcome:
    pairs = list(zip(plan.samples, replies.answers, strict=True))
    missing = frozenset(sample.id for sample, answer in pairs if answer is None)
    scores = [plan.task.score(sample, answer or "") for sample, answer in pairs]
    file = records_path(run.path, model, plan.label)
    if not judge or not isinstance(plan.task, JudgedTask):
        scores = counted(plan.samples, scores, missing)
        write_records(file, plan.samples, replies.raw, scores, missing)
        return Outcome(plan, scores, missing, reasoned=replies.reasoned, unfinished=replies.unfinished)
    outcomes = []
    for repeat in range(repeats):
        kept = run.state / f"verdicts-{model}-{plan.label}{f'-{repeat}' if repeat else ''}.jsonl"
        verdicts = ask_all(judge, plan.task, pairs, f"{plan.label} ({model})", kept, progress, repeat)
        holes = missing | {one.id for one, score in zip(plan.samples, verdicts.scores, strict=True) if score is None}
        judgements += verdicts.judgements
        judged = [score or blank for score, blank in zip(verdicts.scores, scores, strict=True)]
        judged = counted(plan.samples, judged, holes)
        outcomes.append(
            Outcome(plan, judged, holes, verdicts.counts, (), replies.reasoned, replies.unfinished, verdicts.unread)
        )
        if repeat == 0:
            write_records(file, plan.samples, replies.raw, judged, holes, verdicts.replies)
    asked = sum((Counter(outcome.verdicts) for outcome in outcomes), Counter[str]())
    counts = {name: float(asked[name]) for name in outcomes[0].verdicts}
    return dataclasses.replace(outcomes[0], verdicts=counts, repeats=outcomes[1:])


def _judge(recipe: EvaluateRecipe, concurrency: int) -> Judge | None:
    """Who judges the recipe's benchmarks.

    Raises:
        UsageError: a judge is needed and not named, or named and not needed, or its prompt is for one of several.
    """
    judged = [name for name in recipe.benchmarks if BENCHMARKS.get(name).judged]
    if recipe.judge_repeats < 1:
        raise UsageError(f"judge_repeats is {recipe.judge_repeats}; it must be at least 1.")
    if not judged:
        if recipe.judge:
            raise UsageError(f"None of {', '.join(recipe.benchmarks)} is judged, so --judge has no use.")
        return None
    if not recipe.judge:
        raise UsageError(f"The benchmark {judged[0]} is scored by a judge.", "Name one with --judge URL#MODEL.")
    if recipe.judge_prompt is not None and len(judged) > 1:
        raise UsageError(f"One judge's prompt cannot serve {' and '.join(judged)}.", "Evaluate them one by one.")
    settings = ChatSettings(
        recipe.judge_temperature,
        recipe.judge_max_tokens,
        concurrency,
        revision=recipe.judge_revision,
        thinking=recipe.thinking,
    )
    return open_judge(recipe.judge, recipe.judge_prompt, settings)
