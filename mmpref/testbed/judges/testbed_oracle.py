"""Knows the testbed's scenes: compares answers by the truth, corrupts them by rule, and checks claims.

``testbed-oracle:0.2`` is an annotator that compares answers, and is wrong in a fifth of what it can tell.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from mmpref.errors import ModelError
from mmpref.images import decode
from mmpref.judges.annotator import Comparison, Verdict
from mmpref.judges.chat import OnReply, Query, Reply
from mmpref.judges.claims import Claim, ClaimVerdict
from mmpref.judges.rewriter import Rewriting
from mmpref.rng import stream
from mmpref.testbed import language, oracle, reading
from mmpref.testbed.judges._erring import ErringAnnotator
from mmpref.testbed.world import COLOURS, FAVOURITE, PARTNER, PLACES, SHAPES, Scene
from mmpref.types import ImageData, Message

_SCENES, _SPLITS = 2400, ("train", "dev", "test")
_KINDS = {word: kind for kind in (COLOURS, SHAPES, PLACES) for word in kind}
_WORD = re.compile(rf"\b({'|'.join(sorted(_KINDS, key=len, reverse=True))}|yes|no)\b", re.I)


class Oracle:
    """Recognises a scene by the pixels of its picture, or reads the truth in a benchmark's prompt."""

    identity: Mapping[str, Any] = MappingProxyType({"model": "testbed-oracle", "temperature": 0.0})

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        """Replies to the prompts of judged benchmarks; others it does not understand."""
        replies = []
        for number, query in enumerate(queries):
            try:
                replies.append(Reply(reading.reply(query.messages[-1].content)))
            except ValueError as error:
                replies.append(Reply(None, str(error)))
            if on_reply:
                on_reply(number, replies[-1])
        return replies

    def compare(self, comparisons: Sequence[Comparison]) -> list[Verdict]:
        """The answer with fewer false statements is better, then the one that says more that is true."""
        verdicts = []
        for pair in comparisons:
            truth = _scene(pair.images)
            first, second = (_worth(pair.prompt[-1].content, answer, truth) for answer in (pair.first, pair.second))
            if first == second:
                verdicts.append(Verdict(None, "tie"))
            else:
                verdicts.append(Verdict("first" if first > second else "second", "agreed"))
        return verdicts

    def reward(self, images: Sequence[Image.Image], prompt: Sequence[Message], answers: Sequence[str]) -> list[float]:
        """True statements less twice the false ones."""
        truth = _known(images[0])
        worths = [_worth(prompt[-1].content, answer, truth) for answer in answers]
        return [float(true + 2 * false) for false, true in worths]

    def rewrite(self, wanted: Sequence[Rewriting]) -> list[Reply]:
        """One word of at least one sentence becomes another of its kind that is false: most often the word that the
        biased world would suggest. Yes and no change places. An answer without such a word stays as it is."""
        return [Reply(_corrupted(request, _scene(request.images))) for request in wanted]

    def check(self, claims: Sequence[Claim]) -> list[ClaimVerdict]:
        """True where the scene bears out all that a sentence claims; missing where it claims nothing of a scene."""
        return [ClaimVerdict(_holds(claim.text, _scene(claim.images)), {}) for claim in claims]

    def with_setting(self, text: str) -> ErringAnnotator:
        """One that compares alike, but for a share of errors."""
        return ErringAnnotator.parse(self, text)


def _scene(images: Sequence[ImageData]) -> Scene:
    return _known(decode(images[0]) if images else None)


def _known(picture: Image.Image | None) -> Scene:
    for split in _SPLITS:
        scene = oracle.find(picture, split, _SCENES) if picture else None
        if scene is not None:
            return scene
    raise ModelError("The testbed's oracle does not know this image.", "It judges the testbed's own scenes only.")


@functools.lru_cache(maxsize=1024)
def _questions(truth: Scene) -> dict[str, language.Question]:
    """Everything that can be asked about a scene, by its text."""
    questions = [ask(thing) for ask in (language.ask_colour, language.ask_place) for thing in truth.things]
    questions += [language.ask_exists(shape, shape in truth.shapes) for shape in SHAPES]
    questions += [language.ask_is_colour(thing, colour) for thing in truth.things for colour in COLOURS]
    return {question.text: question for question in questions}


def _worth(prompt: str, answer: str, truth: Scene) -> tuple[int, int]:
    """(minus the false statements, the true ones)."""
    question = _questions(truth).get(prompt.removesuffix(language.SHORT))
    if question is None:
        judgement = oracle.judge(answer, truth)
        true = set(judgement.mentioned) & set(truth.shapes)
        return -len(judgement.false_claims) - len(judgement.hallucinated), len(true)
    words = [word.lower() for word in _WORD.findall(answer)]
    kind = _kind(question.word)
    named = {word for word in words if _kind(word) is kind}
    right = named == {question.word.lower()}
    claims = [word for word in words if word in SHAPES and word not in truth.shapes and word not in prompt]
    return -int(not right) - len(claims), int(right)


def _kind(word: str) -> tuple[str, ...]:
    word = word.lower()
    return ("yes", "no") if word in ("yes", "no") else tuple(_KINDS[word])


def _holds(text: str, truth: Scene) -> float | None:
    claims = oracle.judge(text, truth)
    if not claims.mentioned:
        return None
    return float(not claims.false_claims and not claims.hallucinated)


def _corrupted(request: Rewriting, truth: Scene) -> str:
    draws = stream(request.seed, request.id, 1, "corrupt")
    sentences = re.findall(r"[^.]*\.\s*|[^.]+$", request.answer)
    changeable = [
        number for number, sentence in enumerate(sentences) if _changeable(sentence, request.prompt[-1].content)
    ]
    if not changeable:
        return request.answer
    sure = changeable[int(draws.integers(len(changeable)))]
    for number in changeable:
        if number == sure or draws.random() < 0.5:
            sentences[number] = _changed(sentences[number], request.prompt[-1].content, truth, draws)
    return "".join(sentences)


def _changeable(sentence: str, prompt: str) -> list[re.Match[str]]:
    """The words that can become others: not those of the question, which the answer is about."""
    if starts := re.match(r"\s*(yes|no)\b", sentence, re.I):
        match = _WORD.search(sentence, starts.start(1))
        return [match] if match else []
    question_words = {word.lower() for word in _WORD.findall(prompt)}
    return [match for match in _WORD.finditer(sentence) if match[0].lower() not in question_words]


def _changed(sentence: str, prompt: str, truth: Scene, draws: np.random.Generator) -> str:
    words = _changeable(sentence, prompt)
    word = words[int(draws.integers(len(words)))]
    old = word[0].lower()
    new = {"yes": "no", "no": "yes"}.get(old) or _other(old, sentence, truth, draws)
    return sentence[: word.start()] + (new.capitalize() if word[0][0].isupper() else new) + sentence[word.end() :]


def _other(old: str, sentence: str, truth: Scene, draws: np.random.Generator) -> str:
    """Another word of the same kind that makes the statement false, the biased world's guess where there is one."""
    shapes = [shape for shape in SHAPES if re.search(rf"\b{shape}\b", sentence)]
    guess = None
    if old in SHAPES:
        others = [shape for shape in SHAPES if shape not in truth.shapes]
        guess = next((PARTNER[shape] for shape in truth.shapes if PARTNER[shape] in others), None)
    elif old in COLOURS:
        taken = {thing.colour for thing in truth.things if thing.shape in shapes} | {old}
        others = [colour for colour in COLOURS if colour not in taken]
        guess = next((FAVOURITE[shape] for shape in shapes if FAVOURITE[shape] in others), None)
    else:
        taken = {thing.place for thing in truth.things if thing.shape in shapes} | {old}
        others = [place for place in PLACES if place not in taken]
    return guess if guess and draws.random() < 0.7 else others[int(draws.integers(len(others)))]


JUDGE = Oracle()
