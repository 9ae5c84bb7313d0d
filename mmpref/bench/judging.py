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
from mmpref.bench.benchmark import Metric, Sample, Score
from mmpref.errors import ModelError, UsageError
from mmpref.judges import replay
from mmpref.judges.chat import ChatSettings, Query, Reply, usage
from mmpref.judges.final_replies import Final
from mmpref.judges.plugins import plugin
from mmpref.judges.resolve import open_chat
from mmpref.log import logger
from mmpref.reasoning import markers
from mmpref.run.files import JsonLines

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
    """Args:
    name: as it was given.
    prompt: a template in place of the benchmark's own.
    """

    name: str
    chat: Final
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
        """The metric under this judge's name: ``score@MODEL/PROMPT/tTEMPERATURE/ORDER``, the prompt as a hash."""
        facts = self.chat.identity
        prompt = hashlib.sha256(f"{task.system}{self.instruction(task)}".encode()).hexdigest()[:8]
        temperature = facts.get("temperature", 0)
        sampled = "default" if temperature is None else f"{temperature:g}"
        tag = f"{facts['model']}/{prompt}/t{sampled}/{task.order}"
        return dataclasses.replace(metric, name=f"{metric.name}@{tag}")

    def facts(self, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """For the manifest: who judged, and what came of it by benchmark and model."""
        return {"name": self.name, **self.chat.identity, "prompt": self.prompt, "replies": dict(counts)}


@dataclass(frozen=True)
class Verdicts:
    """Args:
    replies: for each sample, or None where there is none.
    scores: what they say; None where there is no reply, or it cannot be read.
    judgements: the replies with what was asked, as rows of `mmpref.judges.replay`.
    counts: `mmpref.judges.chat.usage` of what was asked in this session; of all replies those that were ``read``,
        ``unreadable``, ``unfinished`` (cut at their limit, or nothing but reasoning) and ``reasoned``; and how many
        answers are ``missing``.
    unread: the first reply that could not be read.
    """

    replies: list[str | None]
    scores: list[Score | None]
    judgements: list[dict[str, Any]]
    counts: dict[str, float]
    unread: str = ""


def open_judge(name: str, prompt: str | None, settings: ChatSettings) -> Judge:
    """A judge by a word on the command line: ``URL#MODEL``, a model's id or folder, a file of judgements, or a plugin
    that can be asked.

    Raises:
        UsageError: the word names nobody, or a prompt without a place for the answer.
    """
    if prompt is not None and ANSWER not in prompt:
        raise UsageError(f"The judge's prompt has no {ANSWER}.", "It is a template: see --judge-prompt in the README.")
    known = markers(settings.thinking)
    found = plugin(name, "ask")
    return Judge(name, Final(found, known) if found else open_chat(name, settings), prompt)


def ask_all(
    judge: Judge,
    task: JudgedTask,
    asked: Sequence[tuple[Sample, str | None]],
    label: str,
    kept: Path,
    progress: Callable[[int], None] | None = None,
    repeat: int = 0,
) -> Verdicts:
    """A judge's reply to every answer, in order. Those already in ``kept`` (JSON lines) are not asked for again, and
    failed ones are not kept.

    Args:
        asked: samples with their answers; one without an answer is not asked about.
        label: of the benchmark, for messages.
        repeat: which time the same is asked; each has a ``kept`` of its own.

    Raises:
        ModelError: the judge cannot be reached, or leaves most answers without a verdict.
    """
    known = {row["id"]: str(row["reply"]) for row in JsonLines(kept).rows()}
    queries = [
        None if answer is None else task.query(sample, answer, judge.instruction(task)) for sample, answer in asked
    ]
    left = [
        (sample, dataclasses.replace(query, repeat=repeat))
        for (sample, _), query in zip(asked, queries, strict=True)
        if query and sample.id not in known
    ]
    failed: list[Reply] = []
    with JsonLines(kept).appending() as append:

        def keep(number: int, reply: Reply) -> None:
            sample = left[number][0]
            if reply.text is None or reply.raw is None:
                failed.append(reply)
            else:
                known[sample.id] = reply.raw
                append({"id": sample.id, "reply": reply.raw})
            if progress:
                progress(1)

        _tell_before(judge, label, [query for _, query in left])
        replies = judge.chat.ask([query for _, query in left], keep) if left else []
        _tell_after(judge, replies)
    said = [known.get(sample.id) if query else None for (sample, _), query in zip(asked, queries, strict=True)]
    final = [None if reply is None else reasoning.read(reply, judge.chat.markers) for reply in said]
    scores = [
        None
        if answer is None
        else task.score(sample, answer)
        if query is None
        else None
        if reply is None or reply.answer is None
        else task.read(sample, answer, reply.answer)
        for (sample, answer), query, reply in zip(asked, queries, final, strict=True)
    ]
    unread = [reply for reply, score in zip(said, scores, strict=True) if reply is not None and score is None]
    unfinished = [reply for reply in failed if reply.raw is not None]
    read = sum(reply is not None and score is not None for reply, score in zip(said, scores, strict=True))
    answered = sum(answer is not None for _, answer in asked)
    lost = answered - sum(score is not None for score in scores)
    if lost and lost >= _TOO_MANY * answered:
        some = f"a verdict on {answered - lost} of {answered} answers" if lost < answered else "no readable verdict"
        raise ModelError(
            f"The judge {judge.name} gave {some} to {label}: too few. {_first(failed, unread)}", _mended(failed, unread)
        )
    if lost:
        logger.warning(
            "Warning: %d of %d answers to %s have no verdict and are missing. %s",
            lost,
            answered,
            label,
            _first(failed, unread),
        )
    if unread:
        replied = len(unread) + read
        logger.warning(
            "Warning: %d of %d replies of the judge (%.1f %%) could not be read.",
            len(unread),
            replied,
            100 * len(unread) / replied,
        )
    judgements = [
        replay.row(judge.chat.identity, dataclasses.replace(query, repeat=repeat), reply)
        for query, reply in zip(queries, said, strict=True)
        if query and reply is not None
    ]
    counts = {
        **usage(replies),
        "read": read,
        "unreadable": len(unread),
        "unfinished": len(unfinished),
        "reasoned": sum(one is not None and one.reasoned for one in final),
        "missing": lost,
    }
    return Verdicts(said, scores, judgements, counts, unread[0][:_SHOWN] if unread else "")


def _first(failed: Sequence[Reply], unread: Sequence[str]) -> str:
    """The first reply of each kind that gives no verdict."""
    told = [f"The first that failed: {failed[0].error}."] if failed else []
    return " ".join([*told, *([f"The first that could not be read: {unread[0][:_SHOWN]!r}."] if unread else [])])


def _mended(failed: Sequence[Reply], unread: Sequence[str]) -> str:
    """What to do where most verdicts are missing."""
    if len(failed) <= len(unread):
        return (
            "Its replies must have the form that the prompt asks for; those in a file are to these very answers only."
        )
    if failed[0].raw is not None:
        return "Let it write more: --set judge_max_tokens=4096."
    return f"What the judge's server said decides: {failed[0].error[:_SHOWN]}."


def _tell_before(judge: Judge, label: str, queries: Sequence[Query]) -> None:
    if not queries:
        return
    letters = sum(len(message.content) for query in queries for message in query.messages)
    images, bound = sum(len(query.images) for query in queries), judge.chat.identity.get("max_tokens")
    seen = f" with {images} images" if images else ""
    said = f" of up to {bound} tokens each" if bound else ""
    logger.info(
        "Asking %s about %d answers to %s: some %d tokens of text%s, and replies%s.",
        judge.name,
        len(queries),
        label,
        letters // _LETTERS_A_TOKEN,
        seen,
        said,
    )


def _tell_after(judge: Judge, replies: Sequence[Reply]) -> None:
    if not replies:
        return
    new = [reply for reply in replies if not reply.cached]
    spent, kept = usage(new), len(replies) - len(new)
    logger.info(
        "%s has replied: %d new replies for %d and %d tokens of prompts and replies, %d kept from before.",
        judge.name,
        len(new),
        spent["prompt_tokens"],
        spent["completion_tokens"],
        kept,
    )
