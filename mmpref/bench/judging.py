"""Answers that a model judges: who is asked, with which words, and what its replies are kept as.

A judge's number belongs to its model, its prompt, its temperature and the order in which it sees answers, so all of
these are in the metric's name. A reply that failed or cannot be read is missing; it is never a score.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmpref import reasoning
from mmpref.bench.benchmark import BENCHMARKS, Metric, Sample, Score
from mmpref.errors import ModelError, UsageError
from mmpref.hub_ids import name_for_others
from mmpref.judges import replay
from mmpref.judges.chat import ChatSettings, Query, Reply, count_usage
from mmpref.judges.final_replies import FinalReplies
from mmpref.judges.plugins import annotator_plugin
from mmpref.judges.resolve import open_chat
from mmpref.log import logger
from mmpref.reasoning import markers
from mmpref.run.files import JsonLines
from mmpref.run.results import JUDGED_BY

ANSWER = "{answer}"
_TOO_MANY = 0.75
"""Share of answers without a verdict from which on the others are no score: which they are is no accident."""
_SHOWN = 200
_LETTERS_A_TOKEN = 4
"""Of English text, for what is said before anything is asked."""


@runtime_checkable
class JudgedTask(Protocol):
    """What a task that needs a judge has beside `mmpref.bench.benchmark.Task`. Its ``score`` gives the counts that a
    sample would have, for samples that are missing and for answers that need no judge.

    Attributes:
        instruction: the template that the judge is asked with.
        system: what its system turn says; empty for none.
        order: in which order answers are shown, for the metric's name; ``single`` where it is one.
    """

    instruction: str
    system: str
    order: str

    def score(self, sample: Sample, answer: str) -> Score: ...

    def query(self, sample: Sample, answer: str, instruction: str) -> Query | None:
        """None where the answer needs no judge."""
        ...

    def read(self, sample: Sample, answer: str, reply: str) -> Score | None:
        """None where the reply cannot be read."""
        ...


@dataclass(frozen=True)
class Judge:
    """Who scores answers.

    Args:
        name: as it was given.
        prompt: a template in place of the benchmark's own.
    """

    name: str
    chat: FinalReplies
    prompt: str | None = None

    def ready(self) -> None:
        """Before any work that is done for the judge.

        Raises:
            ModelError: there is none.
        """
        if ready := getattr(self.chat, "ready", None):
            ready()

    def instruction(self, task: JudgedTask) -> str:
        return self.prompt or task.instruction

    def named(self, metric: Metric, task: JudgedTask) -> Metric:
        """The metric under this judge's name: ``score@MODEL/PROMPT/tTEMPERATURE/ORDER``, the prompt as a hash, a folder
        by its own name."""
        facts = self.chat.identity
        prompt = hashlib.sha256(f"{task.system}{self.instruction(task)}".encode()).hexdigest()[:8]
        temperature = facts.get("temperature", 0)
        sampled = "default" if temperature is None else f"{temperature:g}"
        tag = f"{name_for_others(facts['model'])}/{prompt}/t{sampled}/{task.order}"
        return dataclasses.replace(metric, name=f"{metric.name}{JUDGED_BY}{tag}")

    def facts(self, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """For the manifest: who judged, and what came of it by benchmark and model."""
        return {"name": self.name, **self.chat.identity, "prompt": self.prompt, "replies": dict(counts)}


@dataclass(frozen=True)
class Verdicts:
    """A judge's replies about all answers of a model.

    Args:
        replies: for each sample, or None where there is none.
        scores: what they say; None where there is no reply, or it cannot be read.
        judgements: the replies with what was asked, as rows of `mmpref.judges.replay`.
        counts: `mmpref.judges.chat.count_usage` of what was asked in this session; of all replies those that were
            ``read``, ``unreadable``, ``unfinished`` (cut at their limit, or nothing but reasoning) and ``reasoned``;
            and how many answers are ``missing``.
        unreadable: the first reply that could not be read.
    """

    replies: list[str | None]
    scores: list[Score | None]
    judgements: list[dict[str, Any]]
    counts: dict[str, float]
    unreadable: str = ""


def open_judge(
    benchmarks: Sequence[str],
    name: str | None,
    prompt: str | None,
    repeats: int,
    settings: ChatSettings,
    commit: str | None = None,
) -> Judge | None:
    """Who judges benchmarks; None where none needs it.

    Args:
        name: ``URL#MODEL``, a model's id or folder, a file of judgements, or a plugin that can be asked.
        repeats: how often it is to be asked the same.
        commit: at which a model of the Hub is asked, whatever its name means now.

    Raises:
        UsageError: a judge is needed and not named, or named and not needed; the name is nobody's; a prompt without a
            place for the answer, or for one of several benchmarks.
    """
    judged = [benchmark for benchmark in benchmarks if BENCHMARKS.get(benchmark).judged]
    if repeats < 1:
        raise UsageError(f"judge_repeats is {repeats}; it must be at least 1.")
    if not judged:
        if name:
            raise UsageError(f"None of {', '.join(benchmarks)} is judged, so --judge has no use.")
        return None
    if not name:
        raise UsageError(f"The benchmark {judged[0]} is scored by a judge.", "Name one with --judge=URL#MODEL.")
    if prompt is not None and len(judged) > 1:
        raise UsageError(f"One judge's prompt cannot serve {' and '.join(judged)}.", "Evaluate them one by one.")
    if prompt is not None and ANSWER not in prompt:
        raise UsageError(
            f"The judge's prompt has no {ANSWER}.", "It is a template: see --judge-prompt in docs/evaluation.md."
        )
    chat = annotator_plugin(name, "ask")
    final = FinalReplies(chat, markers(settings.thinking)) if chat else open_chat(name, settings, commit=commit)
    return Judge(name, final, prompt)


def judge_answers(
    judge: Judge,
    task: JudgedTask,
    answers: Sequence[tuple[Sample, str | None]],
    label: str,
    file: Path,
    progress: Callable[[int], None] | None = None,
    repeat: int = 0,
) -> Verdicts:
    """A judge's reply to every answer, in order. Those already in ``file`` (JSON lines) are not asked for again, and
    failed ones are not written there.

    Args:
        answers: samples with their answers; one without an answer is not asked about.
        label: of the benchmark, for messages.
        repeat: which time the same is asked; each has a ``file`` of its own.

    Raises:
        ModelError: the judge cannot be reached, or leaves most answers without a verdict.
    """
    instruction = judge.instruction(task)
    queries = [None if answer is None else task.query(sample, answer, instruction) for sample, answer in answers]
    queries = [query and dataclasses.replace(query, repeat=repeat) for query in queries]
    pairs = list(zip((sample for sample, _ in answers), queries, strict=True))
    cached, asked, failed = _ask(judge, pairs, label, file, progress)
    replies = [cached.get(sample.id) if query else None for sample, query in pairs]
    parsed = [None if reply is None else reasoning.read(reply, judge.chat.markers) for reply in replies]
    verdicts = [None if reply is None else reply.answer for reply in parsed]
    scores = [
        _score(task, sample, answer, query is not None, verdict)
        for (sample, answer), query, verdict in zip(answers, queries, verdicts, strict=True)
    ]
    outcomes = [(reply, score) for reply, score in zip(replies, scores, strict=True) if reply is not None]
    unreadable = [reply for reply, score in outcomes if score is None]
    total = sum(answer is not None for _, answer in answers)
    missing = total - sum(score is not None for score in scores)
    refuse_too_few(judge.name, label, missing, total, _first(failed, unreadable), _hint(failed, unreadable))
    if unreadable:
        logger.warning(
            "Warning: %d of %d replies of the judge (%.1f %%) could not be read.",
            len(unreadable),
            len(outcomes),
            100 * len(unreadable) / len(outcomes),
        )
    judgements = [
        replay.judgement_row(judge.chat.identity, query, reply)
        for query, reply in zip(queries, replies, strict=True)
        if query and reply is not None
    ]
    counts = {
        **count_usage(asked),
        "read": len(outcomes) - len(unreadable),
        "unreadable": len(unreadable),
        "unfinished": sum(reply.raw is not None for reply in failed),
        "reasoned": sum(reply is not None and reply.reasoned for reply in parsed),
        "missing": missing,
    }
    return Verdicts(replies, scores, judgements, counts, unreadable[0][:_SHOWN] if unreadable else "")


def refuse_too_few(judge: str, label: str, missing: int, total: int, first: str, hint: str) -> None:
    """Warn of answers without a verdict, which are missing.

    Args:
        first: which is the first, as a sentence.
        hint: what to do where they are too many.

    Raises:
        ModelError: they are `_TOO_MANY`.
    """
    if missing and missing >= _TOO_MANY * total:
        some = f"a verdict on {total - missing} of {total} answers" if missing < total else "no readable verdict"
        raise ModelError(f"The judge {judge} gave {some} to {label}: too few. {first}", hint)
    if missing:
        logger.warning(
            "Warning: %d of %d answers to %s have no verdict and are missing. %s", missing, total, label, first
        )


def _score(task: JudgedTask, sample: Sample, answer: str | None, is_asked: bool, verdict: str | None) -> Score | None:
    if answer is None:
        return None
    if not is_asked:
        return task.score(sample, answer)
    return None if verdict is None else task.read(sample, answer, verdict)


def _ask(
    judge: Judge,
    pairs: Sequence[tuple[Sample, Query | None]],
    label: str,
    file: Path,
    progress: Callable[[int], None] | None,
) -> tuple[dict[str, str], list[Reply], list[Reply]]:
    """Ask what ``file`` has no reply to, and add the replies there.

    Returns:
        All replies by the sample's id, as the judge wrote them; the replies of this session; those of them that failed.
    """
    raw = {row["id"]: str(row["reply"]) for row in JsonLines(file).rows()}
    left = [(sample.id, query) for sample, query in pairs if query and sample.id not in raw]
    queries = [query for _, query in left]
    failed: list[Reply] = []
    with JsonLines(file).appending() as append:

        def on_reply(number: int, reply: Reply) -> None:
            if reply.text is None or reply.raw is None:
                failed.append(reply)
            else:
                id = left[number][0]
                raw[id] = reply.raw
                append({"id": id, "reply": reply.raw})
            if progress:
                progress(1)

        _log_queries(judge, label, queries)
        replies = judge.chat.ask(queries, on_reply) if queries else []
        _log_usage(judge, replies)
    return raw, replies, failed


def _first(failed: Sequence[Reply], unreadable: Sequence[str]) -> str:
    """The first reply of each kind that gives no verdict."""
    sentences = [f"The first that failed: {failed[0].error}."] if failed else []
    sentences += [f"The first that could not be read: {unreadable[0][:_SHOWN]!r}."] if unreadable else []
    return " ".join(sentences)


def _hint(failed: Sequence[Reply], unreadable: Sequence[str]) -> str:
    """What to do where most verdicts are missing."""
    if len(failed) <= len(unreadable):
        return (
            "Its replies must have the form that the prompt asks for; those in a file are to these very answers only."
        )
    if failed[0].raw is not None:
        return "Let it write more: --set judge_max_tokens=4096."
    return f"What the judge's server said decides: {failed[0].error[:_SHOWN]}."


def _log_queries(judge: Judge, label: str, queries: Sequence[Query]) -> None:
    if not queries:
        return
    letters = sum(len(message.content) for query in queries for message in query.messages)
    images, bound = sum(len(query.images) for query in queries), judge.chat.identity.get("max_tokens")
    with_images = f" with {images} images" if images else ""
    limit = f" of up to {bound} tokens each" if bound else ""
    logger.info(
        "Asking %s about %d answers to %s: some %d tokens of text%s, and replies%s.",
        judge.name,
        len(queries),
        label,
        letters // _LETTERS_A_TOKEN,
        with_images,
        limit,
    )


def _log_usage(judge: Judge, replies: Sequence[Reply]) -> None:
    if not replies:
        return
    new = [reply for reply in replies if not reply.cached]
    spent = count_usage(new)
    logger.info(
        "%s has replied: %d new replies for %d and %d tokens of prompts and replies, %d kept from before.",
        judge.name,
        len(new),
        spent["prompt_tokens"],
        spent["completion_tokens"],
        len(replies) - len(new),
    )
