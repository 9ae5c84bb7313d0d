"""Words of a text, in every script: what lengths are counted in, and answers compared by."""

from __future__ import annotations

import unicodedata

import regex

_UNSPACED = r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}\p{Script=Yi}ーｰ\p{Line_Break=SA}"
_ONE = regex.compile(rf"(?=[\p{{L}}\p{{N}}])(?=[{_UNSPACED}])\X|[^{_UNSPACED}]+|\X")
_NEEDED = regex.compile(f"[{_UNSPACED}]")
_ENGLISH = regex.compile(r"a|an|and|are|at|in|is|it|no|not|of|on|that|the|there|this|to|with|yes")
_TELLING = 10
"""Words of a text that tell its language."""
_OTHERS = 0.01
"""Share of texts in other languages in what is still called English."""


def words(text: str) -> list[str]:
    """The words of a text.

    Text in scripts that put spaces between words (Latin, Arabic, Hangul, ...) is split at white space, as `str.split`
    does. In scripts that do not, every character is a word: an ideograph, a kana, or in Thai, Lao, Khmer and Burmese a
    letter with its vowel signs and tone marks (a grapheme cluster); a run of other letters or digits amid them is one
    word. Punctuation belongs to the word before it, or behind it where none is before.

    >>> words("A cat sits."), words("一只猫。"), words("用iPhone拍")
    (['A', 'cat', 'sits.'], ['一', '只', '猫。'], ['用', 'iPhone', '拍'])
    """
    pieces = text.split()
    if text.isascii() or not _NEEDED.search(text):
        return pieces
    return [word for piece in pieces for word in _apart(piece)]


def folded(text: str) -> str:
    """A text in lower case, its accents part of their letters: macOS and some models write them apart."""
    return unicodedata.normalize("NFC", text.lower())


def is_unspaced(text: str) -> bool:
    """Whether some of it is in a script that puts no spaces between words."""
    return _NEEDED.search(text) is not None


def spaced(text: str) -> list[str]:
    """The words of a text, each with the white space behind it; joined they are the text."""
    parts = regex.findall(r"\S+\s*|\s+", text)
    pieces: list[str] = []
    for part in parts:
        word = part.rstrip()
        *before, last = words(word) or [""]
        pieces += [*before, last + part[len(word) :]]
    return pieces


def _apart(piece: str) -> list[str]:
    parts: list[str] = []
    before = ""
    for part in _ONE.findall(piece):
        if any(character.isalnum() for character in part):
            parts.append(before + part)
            before = ""
        elif parts:
            parts[-1] += part
        else:
            before += part
    return parts or [piece]


class EnglishWords:
    """Whether texts are English: by its commonest words in all of them, and by what each has that English has not."""

    def __init__(self) -> None:
        self._words, self._common = 0, 0
        self._texts, self._other = 0, 0

    def add(self, text: str) -> None:
        words = regex.findall(r"\w+", text.lower())
        common = sum(_ENGLISH.fullmatch(word) is not None for word in words)
        accented = sum(not word.isascii() for word in words)
        self._words, self._common = self._words + len(words), self._common + common
        self._texts += bool(words)
        self._other += 3 * accented > len(words) or (len(words) >= _TELLING and not common)

    @property
    def any(self) -> bool:
        """There was a word."""
        return self._words > 0

    @property
    def are_english(self) -> bool:
        """The commonest are a tenth of all words at least, and at most one text in a hundred is of another language: by
        letters beyond ASCII in more than a third of its words, or without any of the commonest in many words."""
        return self._common >= 0.1 * self._words > 0 and self._other <= _OTHERS * self._texts
