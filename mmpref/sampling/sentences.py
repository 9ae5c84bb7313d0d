"""Where a sentence ends: one rule for splitting a written answer and for stopping a tail that is being written.

The rule reads from left to right, looks no further ahead than to the word behind a possible end, and never at what
stands before the sentence. So a model that continues a sentence of an answer as the answer does is stopped where
`split` ends that sentence. A sentence ends

* behind ``.``, ``!``, ``?``, an ellipsis or their like in other scripts, with the quotation marks, brackets and
  Markdown that close behind them, when white space follows (full-width marks need none), unless it is an abbreviation,
  an ellipsis amid the sentence or the like: for full stops Wikimedia's sentencex decides, whose rules come with it;
* at the end of a line (headings, items of lists, verse), unless the next one goes on in lower case;
* never before its first letter, so that "1." and "-" stand with their item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_WIDE = "。．｡！？؟۔।॥։።။។៕‼⁇⁈⁉"
"""Marks that end a sentence without a space behind them, or of scripts that have no capitals."""
_MARKS = rf".!?…{_WIDE}"
_MARKDOWN = "*_`~"
_CLOSING = re.escape("\"'”’»›)]}」』）】》〉" + _MARKDOWN)
_OPENING = "\"'“‘«‹([{「『（【《〈#>-–—•" + _MARKDOWN
_POSSIBLE_END = re.compile(rf"[{_MARKS}\n](?:(?<!\n)(?P<more>[{_MARKS}]*)(?P<closing>[{_CLOSING}]*))?\s*")
"""A mark or several with what closes behind them, or the end of a line; and the white space behind."""
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W_]*")
_ALPHANUMERIC = re.compile(r"[^\W_]")
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts that put no space between sentences, or between words: Thai to Khmer, kana, ideographs, Hangul."""


class Sentence(NamedTuple):
    """A sentence of an answer.

    Args:
        body: the sentence itself, from its first mark or letter to its last.
        trailing: white space behind it, and at the answer's end what has neither letter nor digit (an emoji, a fence).
    """

    body: str
    trailing: str


def split(text: str) -> list[str]:
    """Sentences with what trails behind them, so that ``"".join(split(text)) == text``."""
    return [sentence.body + sentence.trailing for sentence in sentences(text)]


def sentences(text: str) -> list[Sentence]:
    """The text's sentences, in order, which join to it; none of an empty text."""
    parts: list[Sentence] = []
    begin = 0
    for end, after in _ends(text, complete=True):
        parts.append(Sentence(text[begin:end], text[end:after]))
        begin = after
    rest = text[begin:]
    if _ALPHANUMERIC.search(rest) or (rest and not parts):
        body = rest.rstrip()
        parts.append(Sentence(body, rest[len(body) :]))
    elif rest:
        parts[-1] = Sentence(parts[-1].body, parts[-1].trailing + rest)
    return parts


def first_end(text: str) -> tuple[int | None, bool]:
    """Where the first sentence of a text that is still being written ends, white space behind it left out.

    Returns:
        The end, None where there is none yet, and whether only what is written next tells if the sentence ends here.
        An end that was found once stays, whatever is written next.
    """
    for end, after in _ends(text, complete=False):
        return (end, False) if after else (None, True)
    return None, False


def stands_at_end(text: str) -> bool:
    """Whether a text breaks off where a sentence may end."""
    return any(match.end() == len(text) for match in _POSSIBLE_END.finditer(text))


def may_end(text: str) -> bool:
    """Whether there is anything in a text that may end a sentence."""
    return bool(_POSSIBLE_END.search(text))


def _ends(text: str, complete: bool) -> Iterator[tuple[int, int]]:
    """Ends of sentences, and where the next ones begin. The end of the last sentence is not among them.

    Of an incomplete text only those that are certain, then (0, 0) where another one may follow.
    """
    begin = 0
    for match in _POSSIBLE_END.finditer(text):
        after = match.end()
        lines = match[0].count("\n")
        if after == len(text) and (complete or lines < 2):  # the text's last, or nothing is known of what follows
            if not complete:
                yield 0, 0
            return
        end = begin + len(text[begin:after].rstrip())
        if not _LETTER.search(text, begin, end):
            continue
        verdict = lines >= 2 or _is_end(text, begin, match, end, complete)
        if verdict is None:
            yield 0, 0
            return
        if verdict:
            yield end, after
            begin = after


def _is_end(text: str, begin: int, match: re.Match[str], end: int, complete: bool) -> bool | None:
    """Whether a sentence ends at a possible end behind which something stands; None where more of the following word
    must be known."""
    marks, after = text[match.start() : match.end("more")] if match["more"] is not None else "", match.end()
    following = text[after]
    lower = following.islower()
    if not lower and "\n" in match[0]:
        return True
    if not marks:
        return False
    if marks[-1] in _WIDE:
        return True
    if end == after:
        return bool(_NO_SPACES.match(following))
    ellipsis = marks == "…" or marks.startswith("..")
    if ellipsis:
        return not (lower or following.isdigit())
    closing = match["closing"].strip(_MARKDOWN)
    if lower and closing:
        return False  # "Stop!" he said
    if marks != ".":
        return True
    words = text[begin : match.end("more")].rsplit(None, 1)
    word = words[-1].lstrip(_OPENING)
    if len(words) == 1 and word in ("No.", "no."):
        return not following.isdigit()  # an answer, unless it is "No. 7"
    if _is_full_stop(word, "Word"):
        return True
    # Behind an abbreviation the next word decides ("5 p.m. The"), and must be there as a whole.
    word_after = _WORD.match(text, after)
    assert word_after is not None
    if word_after.end() == len(text) and not complete:
        return None
    return _is_full_stop(word, word_after[0] or following)


@lru_cache(maxsize=65536)
def _is_full_stop(word: str, following: str) -> bool:
    """Whether a word's full stop closes a sentence when the given word follows."""
    import sentencex

    if "://" in word or word.startswith("www."):
        return not following[:1].islower()  # sentencex never ends a sentence behind an address
    pieces = list(sentencex.segment("en", f"{word} {following}"))
    return len(pieces) > 1 and pieces[0].rstrip() == word
