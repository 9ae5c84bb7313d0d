"""True answers made false by rule, and false ones true: a word becomes another of its kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mmpref.testbed import oracle
from mmpref.testbed.language import NUMBERS, WHERE, a
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.world import ROWS, Scene, tempting

USUAL_SHARE = 0.7
"""How often a thing becomes one that is usual at the place."""

_ROW_OF = {where: row for row, where in WHERE.items()}
_NAME = oracle.one_of((*THINGS, *KINDS))
_OTHER = oracle.one_of((*_ROW_OF, *ROWS, *NUMBERS))
_WORD = re.compile(rf"\b(?:(?P<article>an? )?(?P<name>{_NAME})|{_OTHER})\b", re.I)
_YES_OR_NO = re.compile(r"\s*(yes|no)\b", re.I)


def corrupted(answer: str, prompt: str, truth: Scene, draws: np.random.Generator) -> str:
    """Make at least one sentence false, the others with even chances; without a word to change an answer stays.

    Args:
        answer: true of the scene.
        prompt: what was asked; the answer is about its words, so they stay.
    """
    sentences = _sentences(answer)
    changeable = [number for number, sentence in enumerate(sentences) if _changeable(sentence, prompt)]
    if not changeable:
        return answer
    sure = changeable[int(draws.integers(len(changeable)))]
    for number in changeable:
        if number == sure or draws.random() < 0.5:
            sentences[number] = _changed(sentences[number], prompt, "".join(sentences), truth, draws)
    return "".join(sentences)


def _changeable(sentence: str, prompt: str) -> Sequence[re.Match[str]]:
    """The words that can become others: yes or no where a sentence begins so, else those that were not asked about."""
    if sure := _YES_OR_NO.match(sentence):
        return [sure]
    asked = {_key(word) for word in _WORD.finditer(prompt)}
    return [word for word in _WORD.finditer(sentence) if _key(word) not in asked]


def _key(word: re.Match[str]) -> str:
    """A thing, a kind of place, a row or a number."""
    text = (word["name"] or word[0]).lower()
    return _ROW_OF.get(text, text)


def _changed(sentence: str, prompt: str, text: str, truth: Scene, draws: np.random.Generator) -> str:
    if _YES_OR_NO.match(sentence):
        return _denied(sentence)
    words = _changeable(sentence, prompt)
    word = words[int(draws.integers(len(words)))]
    about = oracle.mentions(sentence) or oracle.mentions(prompt)
    others = _others(_key(word), about, oracle.mentions(text), truth, draws)
    return _replaced(sentence, word, others[int(draws.integers(len(others)))])


def _replaced(text: str, word: re.Match[str], new: str) -> str:
    """The text with another key (`_key`) in a word's place, in the word's form."""
    if word["article"]:
        new = a(new)
    elif word[0].lower() in _ROW_OF:
        new = WHERE[new]
    return text[: word.start()] + _like(word[0], new) + text[word.end() :]


def corrected(answer: str, truth: Scene, worth: Callable[[str], tuple[int, int]]) -> str:
    """Make an answer true with the fewest words changed, as far as it goes.

    One after another, the change after which least is false, then most true; where no change of a word helps, a
    sentence is left out.

    Args:
        worth: of an answer, minus its false statements and its true ones.
    """
    while worth(answer)[0] < 0:
        for changes in (_changes(answer, truth), _without_a_sentence(answer)):
            better = max(changes, key=worth, default=answer)
            if worth(better) > worth(answer):
                break
        else:
            break
        answer = better
    return answer


def _changes(answer: str, truth: Scene) -> Iterator[str]:
    """The answer with one word changed to another of its kind that fits the scene."""
    sentences = _sentences(answer)
    for number, sentence in enumerate(sentences):
        if _YES_OR_NO.match(sentence):
            yield "".join([*sentences[:number], _denied(sentence), *sentences[number + 1 :]])
    said = oracle.mentions(answer)
    for word in _WORD.finditer(answer):
        old = _key(word)
        kinds = ([name for name in truth.names if name not in said], [truth.kind], NUMBERS, ROWS)
        known = (THINGS, KINDS, NUMBERS, ROWS)
        fitting = next(words for words, all_words in zip(kinds, known, strict=True) if old in all_words)
        yield from (_replaced(answer, word, new) for new in fitting if new != old)


def _without_a_sentence(answer: str) -> Iterator[str]:
    sentences = _sentences(answer)
    if len(sentences) > 1:
        yield from ("".join(sentences[:n] + sentences[n + 1 :]).strip() for n in range(len(sentences)))


def _sentences(answer: str) -> list[str]:
    return re.findall(r"[^.]*\.\s*|[^.]+$", answer)


def _others(
    old: str, about: Sequence[str], said: Sequence[str], truth: Scene, draws: np.random.Generator
) -> Sequence[str]:
    """Words of the same kind that make the statement false.

    Args:
        about: the things that the sentence speaks of.
        said: those that the whole text speaks of.
    """
    if old in THINGS:
        usual = [name for name in tempting(truth) if name not in said]
        if usual and draws.random() < USUAL_SHARE:
            return usual
        return [name for name in THINGS if name not in (*truth.names, *said)]
    if old in KINDS:
        return [kind for kind in KINDS if kind not in (old, truth.kind)]
    if old in NUMBERS:
        return [number for number in NUMBERS if number != old]
    taken = {thing.row for thing in truth.things if thing.name in about}
    return [row for row in ROWS if row != old and row not in taken] or [row for row in ROWS if row != old]


def _denied(sentence: str) -> str:
    """Say no for yes and yes for no."""
    if re.match(r"\s*yes", sentence, re.I):
        sentence = re.sub("yes", lambda word: _like(word[0], "no"), sentence, count=1, flags=re.I)
        return re.sub(r"\bthere is an? ", "there is no ", sentence)
    sentence = re.sub("no", lambda word: _like(word[0], "yes"), sentence, count=1, flags=re.I)
    return re.sub(rf"\bthere is no ({_NAME})\b", lambda match: f"there is {a(match[1])}", sentence)


def _like(old: str, new: str) -> str:
    """With a capital where the old word has one."""
    return new[0].upper() + new[1:] if old[0].isupper() else new
