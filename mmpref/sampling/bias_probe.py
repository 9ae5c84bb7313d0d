"""Where a word of a model's own answer comes from: it is asked for again with other text before it, and with less of
the image.

The answer is teacher-forced up to the word, and the word's own tokens are read: their log-probability, and whether
the model would still say them (each is the most probable one). What differs is

* **the text before**: the sentences before the word's own one are the answer's (``own``), those at the same place in
  another row's answer (``other``; the row is about another picture), or none (``dropped``); the word's own sentence
  up to the word stays;
* **the image**: all of its tokens are seen (``shown``), a few drawn at random (``gist``), or none (``hidden``). Hiding
  is dropping, as BDHS does it.

One forward of a sentence serves all words asked for in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from mmpref.errors import ChatTemplateError
from mmpref.rng import stream
from mmpref.sampling.answers import generate_answers
from mmpref.sampling.logprobs import answer_logits
from mmpref.sampling.sentences import split
from mmpref.types import Example
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.words import folded

if TYPE_CHECKING:
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.policy import Policy

Image = Literal["shown", "gist", "hidden"]
Text = Literal["own", "other", "dropped"]
IMAGES: tuple[Image, ...] = ("shown", "gist", "hidden")
TEXTS: tuple[Text, ...] = ("own", "other", "dropped")
_TOGETHER = 8
"""Rows whose image tokens are all held at a time."""


@dataclass(frozen=True)
class Mention:
    """A word or two of an answer.

    Args:
        begin, end: its characters in the answer.
        name: what it names, such as the object that it is a synonym of.
    """

    begin: int
    end: int
    name: str


@dataclass(frozen=True)
class Said:
    """How a model takes a word in a context.

    Args:
        log_prob: of its tokens, in nats.
        says: whether each of its tokens is the most probable one.
    """

    log_prob: float
    says: bool


@dataclass(frozen=True)
class Probed:
    """A mention in all contexts that there are for it.

    Args:
        row: the example's place.
        sentence: of the answer, from 0; the first one has no text before it that could be replaced.
        found: by image and text. Where no row about another picture has as many sentences without the word, there is no
            ``other``.
    """

    row: int
    mention: Mention
    sentence: int
    found: Mapping[tuple[Image, Text], Said]


def greedy_answers(policy: Policy, examples: Sequence[Example], decoding: Decoding) -> list[str]:
    """The model's own answers.

    Args:
        decoding: greedy.
    """
    answers: list[str] = []
    for start in range(0, len(examples), _TOGETHER):
        block = examples[start : start + _TOGETHER]
        prompts = encode(policy, [policy.prompter(example) for example in block])
        made = generate_answers(policy, prompts, [example.id for example in block], decoding)
        answers += [answer.text.strip() for answer in made]
    return answers


def probe(
    policy: Policy,
    examples: Sequence[Example],
    answers: Sequence[str],
    mentions: Sequence[Sequence[Mention]],
    pictures: Sequence[int],
    seed: int,
    gist_tokens: int,
    donors: Mapping[int, str] | None = None,
) -> Iterator[Probed]:
    """Ask for every mention again, row by row.

    Args:
        answers, mentions: of each example.
        pictures: of each example the place of the first one about the same picture: what is drawn for one is drawn for
            the others too.
        gist_tokens: image tokens that ``gist`` shows, drawn by seed and picture; all where there are no more.
        donors: by place of an example, the answer whose sentences ``other`` takes in place of one that is drawn.
    """
    sentences_of = [split(answer) for answer in answers]
    wanted = [row for row, asked in enumerate(mentions) if asked]
    for start in range(0, len(wanted), _TOGETHER):
        block = wanted[start : start + _TOGETHER]
        prompts = encode(policy, [policy.prompter(examples[row]) for row in block])
        for row, prompt in zip(block, prompts, strict=True):
            own, example, first = sentences_of[row], examples[row], examples[pictures[row]].id
            seen = _seen(prompt, stream(seed, first, "gist"), gist_tokens)
            for number, asked in _by_sentence(own, mentions[row]).items():
                before: dict[Text, str | None] = {"own": "".join(own[:number])}
                if number:
                    given = None if donors is None else [split(donors[row])]
                    others = given or [sentences_of[place] for place in _drawn(pictures, row, seed, first)]
                    before |= {"other": _other(others, number, _words(answers[row], asked)), "dropped": ""}
                yield from _asked(policy, example, row, number, own, asked, seen, before)


def _by_sentence(sentences: Sequence[str], mentions: Sequence[Mention]) -> dict[int, list[Mention]]:
    ends = np.cumsum([len(sentence) for sentence in sentences])
    grouped: dict[int, list[Mention]] = {}
    for mention in mentions:
        grouped.setdefault(int(np.searchsorted(ends, mention.begin, side="right")), []).append(mention)
    return grouped


def _drawn(pictures: Sequence[int], row: int, seed: int, name: str) -> list[int]:
    """The rows about other pictures, shuffled."""
    shuffled = stream(seed, name, "donor").permutation(len(pictures))
    return [int(other) for other in shuffled if pictures[other] != pictures[row]]


def _words(answer: str, asked: Sequence[Mention]) -> set[str]:
    """What is asked for, folded: as the answer says it, and what it names (of "man" also "person")."""
    return {folded(word) for mention in asked for word in (answer[mention.begin : mention.end], mention.name)}


def _other(answers: Sequence[Sequence[str]], number: int, words: Collection[str]) -> str | None:
    """The first sentences of the first answer that goes on behind them and does not hold the words asked for."""
    for sentences in answers:
        before = "".join(sentences[:number])
        if len(sentences) > number and not any(word in folded(before) for word in words):
            return before
    return None


def _seen(prompt: EncodedPrompt, draws: np.random.Generator, gist_tokens: int) -> dict[Image, EncodedPrompt]:
    few = np.zeros(prompt.image_tokens, dtype=bool)
    few[draws.permutation(prompt.image_tokens)[:gist_tokens]] = True
    return {
        "shown": prompt,
        "gist": prompt.drop(torch.from_numpy(few), "original"),
        "hidden": prompt.without_images(),
    }


def _asked(
    policy: Policy,
    example: Example,
    row: int,
    number: int,
    sentences: Sequence[str],
    asked: Sequence[Mention],
    seen: Mapping[Image, EncodedPrompt],
    before: Mapping[Text, str | None],
) -> Iterator[Probed]:
    """The mentions of one sentence in all contexts: one forward a context."""
    start = len("".join(sentences[:number]))
    contexts: list[tuple[Image, Text]] = []
    prompts, tokens, places = [], [], []
    for text, prefix in before.items():
        if prefix is None:
            continue
        sentence = sentences[number] if prefix or not number else sentences[number].lstrip()
        shift = len(prefix) - start - (len(sentences[number]) - len(sentence))
        spans = [(mention.begin + shift, mention.end + shift) for mention in asked]
        ids, words = _tokens(policy, example, (prefix + sentence).rstrip(), spans)
        for image in IMAGES:
            contexts.append((image, text))
            prompts.append(seen[image])
            tokens.append(ids)
            places.append(words)
    found: list[dict[tuple[Image, Text], Said]] = [{} for _ in asked]
    for context, logits, ids, words in zip(
        contexts, answer_logits(policy, prompts, tokens), tokens, places, strict=True
    ):
        for said, word in zip(found, words, strict=True):
            said[context] = _said(policy, logits, ids, word)
    for mention, taken in zip(asked, found, strict=True):
        yield Probed(row, mention, number, taken)


def _tokens(
    policy: Policy, example: Example, answer: str, spans: Sequence[tuple[int, int]]
) -> tuple[list[int], list[range]]:
    """The answer's tokens up to the last of some places in it, and which of them each place is."""
    try:
        _, begin, ids, offsets = policy.written_answer(example.prompt, len(example.images), answer)
    except ChatTemplateError as error:
        raise ChatTemplateError(f"Row {example.id}: {error.message}", error.hint) from error
    words = []
    for first, last in spans:
        held = [
            place
            for place, (left, right) in enumerate(offsets)
            if left < begin + last and right > begin + first and left < right
        ]
        words.append(range(held[0], held[-1] + 1))
    return ids[: max(word.stop for word in words)], words


@torch.inference_mode()
def _said(policy: Policy, logits: torch.Tensor, ids: Sequence[int], word: range) -> Said:
    rows = logits[word.start : word.stop]
    chosen = torch.tensor(ids[word.start : word.stop], device=rows.device)
    log_prob = float(rows.log_softmax(-1).gather(1, chosen[:, None]).sum())
    written = rows.clone()
    written[:, sorted(policy.suppressed_ids)] = -torch.inf
    return Said(log_prob, bool((written.argmax(-1) == chosen).all()))
