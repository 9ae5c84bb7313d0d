"""From a model's replies to what it made of a benchmark: every answer is scored, by the task alone or with a judge."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.judging import Judge, JudgedTask, Verdicts, judge_answers, refuse_too_few
from mmpref.bench.parts import with_group_counts
from mmpref.bench.plan import Plan
from mmpref.bench.records import records_path, write_records
from mmpref.bench.replies import Replies
from mmpref.bench.results import Compared, Outcome
from mmpref.log import counted
from mmpref.run.directory import Run
from mmpref.run.files import write_atomic


def score_replies(plan: Plan, replies: Replies, verdicts: Verdicts | None = None) -> Outcome:
    """A model's outcome: by the verdicts of a judge where there are any, else by the task itself.

    A sample without an answer or a verdict is missing; the score that stands for it is the task's own.

    Raises:
        ModelError: a judge that the task asks by itself leaves most answers without a verdict.
    """
    samples, answers = plan.samples, replies.answers
    scores = [plan.task.score(sample, answer or "") for sample, answer in zip(samples, answers, strict=True)]
    missing = {sample.id for sample, answer in zip(samples, answers, strict=True) if answer is None}
    unjudged = {
        sample.id: score.unjudged
        for sample, score in zip(samples, scores, strict=True)
        if score.unjudged and sample.id not in missing
    }
    _refuse_unjudged(plan, list(unjudged.values()), len(samples) - len(missing))
    missing |= unjudged.keys()
    if verdicts:
        missing |= {sample.id for sample, score in zip(samples, verdicts.scores, strict=True) if score is None}
        scores = [score or blank for score, blank in zip(verdicts.scores, scores, strict=True)]
    if any(sample.groups for sample in samples):
        scores = with_group_counts(samples, scores, missing)
    return Outcome(
        plan,
        scores,
        frozenset(missing),
        replies.raw,
        verdicts.replies if verdicts else None,
        verdicts.counts if verdicts else {},
        reasoned=replies.reasoned,
        unfinished=replies.unfinished,
        unread=verdicts.unreadable if verdicts else "",
        unjudged=tuple(unjudged.values()),
    )


def _refuse_unjudged(plan: Plan, unjudged: Sequence[str], answered: int) -> None:
    if unjudged:
        judge = str(BENCHMARKS.get(plan.name).decided_by(plan.settings)["judge"])
        first = f"The first that failed: {unjudged[0]}."
        hint = "What was answered is kept: the same command asks again for the verdicts that are missing."
        refuse_too_few(judge, plan.label, len(unjudged), answered, first, hint)


def remarks_on_unjudged(benchmark: str, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Of each model, how many of its answers have no verdict of a judge that the benchmark asks by itself."""
    return [
        f"{benchmark}: {counted(len(outcome.unjudged), 'answer')} of {model} came to no verdict of the judge: "
        f"missing (no-verdict). The first: {outcome.unjudged[0]}."
        for model, outcome in outcomes.items()
        if outcome.unjudged
    ]


@dataclass(frozen=True)
class Scorer:
    """Scores the models of a run, with its judge where a benchmark needs one.

    Args:
        repeats: how often the judge is asked the same; the first time scores.
        progress: told how many replies the judge gave.
    """

    run: Run
    judge: Judge | None
    repeats: int = 1
    progress: Callable[[int], None] | None = None

    def score(self, plan: Plan, model: str, replies: Replies) -> tuple[Outcome, list[dict[str, Any]]]:
        """One model's outcome, and the judge's replies with what was asked (`Verdicts.judgements`)."""
        if not self.judge or not isinstance(plan.task, JudgedTask):
            return score_replies(plan, replies), []
        verdicts = [self._verdicts(self.judge, plan.task, plan, model, replies, time) for time in range(self.repeats)]
        outcome, *others = (score_replies(plan, replies, each) for each in verdicts)
        total = sum((Counter(each.counts) for each in verdicts), Counter[str]())
        counts = {name: float(total[name]) for name in verdicts[0].counts}
        judgements = [judgement for each in verdicts for judgement in each.judgements]
        return dataclasses.replace(outcome, verdicts=counts, repeats=others), judgements

    def _verdicts(
        self, judge: Judge, task: JudgedTask, plan: Plan, model: str, replies: Replies, repeat: int
    ) -> Verdicts:
        file = self.run.state / f"verdicts-{model}-{plan.label}{f'-{repeat}' if repeat else ''}.jsonl"
        answers = list(zip(plan.samples, replies.answers, strict=True))
        return judge_answers(judge, task, answers, f"{plan.label} ({model})", file, self.progress, repeat)


def write_outcomes(run: Path, outcomes: Mapping[str, Outcome], compared: Compared) -> None:
    """Write a record of every sample of each model, with its counts in the results."""
    for model, outcome in outcomes.items():
        plan = outcome.plan
        file = records_path(run, model, plan.label)
        scores = compared.outcomes[model].scores
        write_records(file, plan.samples, outcome.raw, scores, outcome.missing, compared.counted, outcome.said)


def verdict_facts(outcome: Outcome) -> dict[str, Any]:
    """What came of a judge's replies, for the manifest."""
    counts = outcome.verdicts
    replies = counts["unreadable"] + counts["read"]
    share = {"unreadable_share": counts["unreadable"] / replies} if replies else {}
    return {**counts, **share, **({"unreadable_example": outcome.unread} if outcome.unread else {})}


def write_judgements(run: Path, judgements: Sequence[Mapping[str, Any]]) -> None:
    """Keep what a judge replied, where there is one, so that it can judge again (`mmpref.judges.replay`)."""
    if judgements:
        lines = [json.dumps(judgement, ensure_ascii=False) + "\n" for judgement in judgements]
        write_atomic(run / "judgements.jsonl", "".join(lines))
