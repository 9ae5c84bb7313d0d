"""Which of two answers is better: asked in both orders, because models favour a place; a disagreement is a tie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, Protocol

from mmpref.errors import ModelError, UsageError, reason_of
from mmpref.judges.chat import Chat, Query, Reply, count_usage
from mmpref.judges.verdicts import choice
from mmpref.types import ImageData, Message

INSTRUCTION = """\
You see an image, a question about it, and two responses to that question. Decide which response is better.

First of all, a better response says fewer things that the image does not bear out: objects that are not there, wrong \
numbers, colours, positions, actions or relations, and text that does not stand there. Check every statement of both \
responses against the image. Only where they are equally truthful, the better one answers the question more fully and \
is more helpful. Length, style and the order in which the responses are shown do not count.

Question:
{prompt}

Response 1:
{first}

Response 2:
{second}

Name in one or two sentences the mistakes that decide. Then write on a line of its own either
Better: Response 1
or
Better: Response 2"""
"""The default template, after the paper's appendix D in structure, in our own words."""


@dataclass(frozen=True)
class Comparison:
    """Two answers to one prompt.

    Args:
        prompt: turns that end with the user's.
    """

    images: tuple[ImageData, ...]
    prompt: tuple[Message, ...]
    first: str
    second: str

    def swapped(self) -> Comparison:
        return Comparison(self.images, self.prompt, self.second, self.first)


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison.

    Args:
        winner: the better answer of the comparison; None for a tie or where it is missing.
        kind: ``agreed``, ``tie`` (the annotator says so, or says different things in the two orders) or ``missing``
            (of the answers at least one failed or names no response).
        places: for an annotator that is shown an order: which place it named, None for none, first as given and then
            swapped.
        usage: `mmpref.judges.chat.count_usage` of what was asked.
        error: why it is missing.
    """

    winner: Literal["first", "second"] | None
    kind: Literal["agreed", "tie", "missing"]
    places: tuple[int | None, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


class Annotator(Protocol):
    """Somebody who compares answers."""

    def compare(self, comparisons: Sequence[Comparison]) -> list[Verdict]:
        """A verdict for each, in order.

        Raises:
            ModelError: it cannot be reached or is broken.
        """
        ...


class ChatAnnotator:
    """A model that is shown image, question and both answers, in both orders.

    Args:
        instruction: template with ``{prompt}``, ``{first}`` and ``{second}``; replies say ``Better: Response N``.
    """

    def __init__(self, chat: Chat, instruction: str | None = None) -> None:
        self.chat, self.instruction = chat, instruction or INSTRUCTION

    def compare(self, comparisons: Sequence[Comparison]) -> list[Verdict]:
        both_orders = [order for pair in comparisons for order in (pair, pair.swapped())]
        replies = self.chat.ask([self._query(pair) for pair in both_orders])
        return [_verdict(given, swapped) for given, swapped in zip(replies[::2], replies[1::2], strict=True)]

    def _query(self, pair: Comparison) -> Query:
        text = fill_template(
            self.instruction, prompt=conversation_text(pair.prompt), first=pair.first, second=pair.second
        )
        return Query((Message("user", text),), pair.images)


def fill_template(template: str, **values: str) -> str:
    """The template with ``{name}`` replaced by values; other braces, and braces in values, are text."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def require_placeholders(template: str | None, *names: str) -> None:
    """Check a template.

    Raises:
        UsageError: it lacks a placeholder.
    """
    for name in names:
        if template is not None and f"{{{name}}}" not in template:
            raise UsageError(
                f"The instruction has no {{{name}}}.", f"It needs {' and '.join(f'{{{name}}}' for name in names)}."
            )


def refuse_instruction(spec: str, instruction: str | None) -> None:
    """For annotators that are no models.

    Raises:
        UsageError: an instruction is given.
    """
    if instruction is not None:
        raise UsageError(f"The annotator {spec!r} takes no instruction.", "Leave --prompt-file out.")


def conversation_text(prompt: Sequence[Message]) -> str:
    """A prompt as text: the question itself, or the turns with their roles where there are several."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n".join(f"{message.role.capitalize()}: {message.content}" for message in prompt)


def _verdict(given: Reply, swapped: Reply) -> Verdict:
    replies = (given, swapped)
    places = tuple(None if reply.text is None else choice(reply.text) for reply in replies)
    counts = count_usage(replies)
    if None in places:
        errors = [
            reply.error or f"names no response: {(reply.text or '')[:80]!r}"
            for reply, place in zip(replies, places, strict=True)
            if place is None
        ]
        return Verdict(None, "missing", places, counts, errors[0])
    return _agreed(places, counts)


def _agreed(places: tuple[int | None, ...], counts: Mapping[str, float]) -> Verdict:
    """The answer that was named in both orders; a tie where there is none."""
    if places == (1, 2):
        return Verdict("first", "agreed", places, counts)
    if places == (2, 1):
        return Verdict("second", "agreed", places, counts)
    return Verdict(None, "tie", places, counts)


class FunctionAnnotator:
    """A Python function as annotator, called in both orders.

    Args:
        function: from images (`PIL.Image.Image`), prompt, first and second answer (texts) to 1, 2, or 0 for a tie.
        name: for messages.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name

    def compare(self, comparisons: Sequence[Comparison]) -> list[Verdict]:
        return [self._compare(pair) for pair in comparisons]

    def _compare(self, pair: Comparison) -> Verdict:
        from mmpref.images import decode

        images = [decode(image) for image in pair.images]
        return _agreed(tuple(self._place(images, order) for order in (pair, pair.swapped())), {})

    def _place(self, images: Sequence[Any], pair: Comparison) -> int | None:
        """The place that it names; None for a tie."""
        try:
            place = self._function(list(images), conversation_text(pair.prompt), pair.first, pair.second)
        except Exception as error:
            raise ModelError(
                f"The annotator {self._name} fails: {type(error).__name__}: {reason_of(error)}.",
                "It is called with images, prompt, first and second answer.",
            ) from error
        if place not in (0, 1, 2):
            raise ModelError(f"The annotator {self._name} answers {place!r}; it must be 1, 2, or 0 for a tie.")
        return int(place) or None


def count_verdicts(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Counts that add up: ``comparisons``, ``agreed``, ``tie``, ``missing``, ``named`` (places that readable replies
    name), ``named_first`` (half of these, were there no position bias), and `mmpref.judges.chat.count_usage`."""
    counts = dict.fromkeys(("comparisons", "agreed", "tie", "missing", "named_first", "named"), 0.0)
    for verdict in verdicts:
        counts["comparisons"] += 1
        counts[verdict.kind] += 1
        places = [place for place in verdict.places if place is not None]
        counts["named"] += len(places)
        counts["named_first"] += places.count(1)
        for name, value in verdict.usage.items():
            counts[name] = counts.get(name, 0.0) + value
    return counts


@dataclass(frozen=True)
class Ranking:
    """The best and the worst of several answers to one prompt.

    Args:
        best, worst: None where no two can be told apart.
        margin: comparisons won less lost by the best, less the same of the worst.
        verdicts: of all comparisons.
    """

    best: str | None
    worst: str | None
    margin: int
    verdicts: tuple[Verdict, ...]


def rank_answers(
    annotator: Annotator, samples: Sequence[tuple[tuple[ImageData, ...], tuple[Message, ...], Sequence[str]]]
) -> list[Ranking]:
    """Compare every two different answers to each prompt, all prompts at once.

    Args:
        samples: images, prompt and answers of each.
    """
    rounds = [list(combinations(dict.fromkeys(answers), 2)) for _, _, answers in samples]
    comparisons = [
        Comparison(images, prompt, first, second)
        for (images, prompt, _), pairs in zip(samples, rounds, strict=True)
        for first, second in pairs
    ]
    verdicts = iter(annotator.compare(comparisons) if comparisons else [])
    return [_ranked(pairs, [next(verdicts) for _ in pairs]) for pairs in rounds]


def _ranked(pairs: Sequence[tuple[str, str]], verdicts: Sequence[Verdict]) -> Ranking:
    scores: dict[str, int] = {answer: 0 for pair in pairs for answer in pair}
    for (first, second), verdict in zip(pairs, verdicts, strict=True):
        if verdict.winner is not None:
            winner, loser = (first, second) if verdict.winner == "first" else (second, first)
            scores[winner] += 1
            scores[loser] -= 1
    best, worst = max(scores, key=scores.__getitem__, default=None), min(scores, key=scores.__getitem__, default=None)
    if best is None or worst is None or scores[best] == scores[worst]:
        return Ranking(None, None, 0, tuple(verdicts))
    return Ranking(best, worst, scores[best] - scores[worst], tuple(verdicts))
