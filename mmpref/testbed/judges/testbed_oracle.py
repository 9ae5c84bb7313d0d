"""Knows the testbed's scenes: compares answers by the truth, corrupts and corrects them by rule, checks claims, and
finds things.

``testbed-oracle:0.2`` is an annotator that compares answers and finds things, and is wrong in a fifth of what it can
tell.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from PIL import Image

from mmpref.errors import ModelError
from mmpref.images import decode
from mmpref.judges.annotator import Comparison, Verdict
from mmpref.judges.chat import OnReply, Query, Reply
from mmpref.judges.claims import Claim, ClaimVerdict
from mmpref.judges.detectors import Search
from mmpref.judges.rewriter import Rewriting
from mmpref.rng import stream
from mmpref.testbed import corruption, language, oracle, reading
from mmpref.testbed.judges._erring import ErringAnnotator
from mmpref.testbed.things import THINGS
from mmpref.testbed.world import FOREIGN, REPAINTED, ROWS, Scene
from mmpref.types import Box, ImageData, Message

_SCENES = {"train": 2400, "dev": 400, "test": 400, "usual": 200, "unusual": 200, REPAINTED: 400, FOREIGN: 400}
_SCENES |= {"even": 2400}
"""Of each split, how many of its scenes are in tables."""


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
        """One word of at least one sentence becomes another of its kind that is false: a thing most often one that is
        usual at the place. Yes and no change places. An answer without such a word stays as it is."""
        return [
            Reply(
                corruption.corrupted(
                    request.answer,
                    request.prompt[-1].content,
                    _scene(request.images),
                    stream(request.seed, request.id, 1, "corrupt"),
                )
            )
            for request in wanted
        ]

    def correct(self, wanted: Sequence[Rewriting]) -> list[Reply]:
        """False words become true ones of their kind; a sentence for which there is none is left out."""
        return [Reply(_corrected(request)) for request in wanted]

    def check(self, claims: Sequence[Claim]) -> list[ClaimVerdict]:
        """True where the scene bears out all that a sentence claims; missing where it claims nothing of a scene."""
        return [ClaimVerdict(_holds(claim.text, _scene(claim.images)), {}) for claim in claims]

    def detect(self, searches: Sequence[Search]) -> list[dict[str, list[Box]]]:
        """The cell that a thing stands in, of those that are there."""
        return [
            {name: oracle.boxes(_scene([search.image])).get(name, []) for name in search.names} for search in searches
        ]

    def with_setting(self, text: str) -> ErringAnnotator:
        """One that compares and detects alike, but for a share of errors."""
        return ErringAnnotator.parse(self, text)


def _scene(images: Sequence[ImageData]) -> Scene:
    return _known(decode(images[0]) if images else None)


def _known(picture: Image.Image | None) -> Scene:
    for split, scenes in _SCENES.items():
        scene = oracle.find(picture, split, scenes) if picture else None
        if scene is not None:
            return scene
    raise ModelError("The testbed's oracle does not know this image.", "It judges the testbed's own scenes only.")


@functools.lru_cache(maxsize=1024)
def _questions(truth: Scene) -> dict[str, language.Question]:
    """Everything that can be asked about a scene, by its text."""
    questions = [ask(thing) for ask in (language.ask_where, language.ask_what) for thing in truth.things]
    questions += [language.ask_is_in(thing, row) for thing in truth.things for row in ROWS]
    questions += [language.ask_exists(name, name in truth.names) for name in THINGS]
    questions += [language.ask_how_many(truth, row) for row in (*ROWS, None)]
    questions.append(language.ask_kind(truth))
    return {question.text: question for question in questions}


def _worth(prompt: str, answer: str, truth: Scene) -> tuple[int, int]:
    """(minus the false statements, the true ones)."""
    question = _questions(truth).get(prompt.removesuffix(language.SHORT))
    judgement = oracle.judge(answer, truth)
    if question is None:
        true = set(judgement.mentioned) & set(truth.names)
        return -len(judgement.false_claims) - len(judgement.hallucinated), len(true)
    kind = reading.kind_of(question.word)
    right = {word for word in reading.named(answer) if word in kind} == {question.word.lower()}
    invented = [name for name in judgement.hallucinated if name not in oracle.mentions(prompt)]
    return -max(int(not right), len(judgement.false_claims)) - len(invented), int(right)


def _corrected(request: Rewriting) -> str:
    prompt, truth = request.prompt[-1].content, _scene(request.images)
    return corruption.corrected(request.answer, truth, lambda answer: _worth(prompt, answer, truth))


def _holds(text: str, truth: Scene) -> float | None:
    judgement = oracle.judge(text, truth)
    if not judgement.mentioned and not judgement.claims:
        return None
    return float(not judgement.false_claims and not judgement.hallucinated)


JUDGE = Oracle()
