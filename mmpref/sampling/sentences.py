"""Sentences of an answer: splitting that joins back exactly, and the ends that close a generated tail.

The splitter is Wikimedia's sentencex, whose rules come with its package.
"""

from __future__ import annotations

import re

_CLOSING = "\"'”’)]»」』"
_FULL_STOP = re.compile(rf"[.。][{re.escape(_CLOSING)}]*\s*$")
_MAY_GO_ON = re.compile(r"(\d|\b[A-Za-z])\.$")
_WIDE_SPACE = re.compile(r"[^\S \n\r\t]")
_WORD = re.compile(r"[^\W\d_]")


def split(text: str) -> list[str]:
    """Sentences with the white space that follows them, so that ``"".join(split(text)) == text``.

    Pieces without a letter (white space, the "1." of a list) go with the sentence that follows, or, at the end, with
    the one before.
    """
    sentences: list[str] = []
    pending = ""
    for piece in _pieces(text):
        if _WORD.search(piece):
            sentences.append(pending + piece)
            pending = ""
        elif sentences and not pending and not piece.strip():
            sentences[-1] += piece
        else:
            pending += piece
    if pending and sentences:
        sentences[-1] += pending
    elif pending:
        sentences.append(pending)
    return sentences


def _pieces(text: str) -> list[str]:
    """The splitter's pieces of the text, which join to it. Every space is shown to it as the plain one: next to a
    no-break or ideographic space sentencex (1.0.32) breaks off with a Rust panic."""
    import sentencex

    pieces, begin = [], 0
    for piece in sentencex.segment("en", _WIDE_SPACE.sub(" ", text)):
        pieces.append(text[begin : begin + len(piece)])
        begin += len(piece)
    return pieces


def ends_sentence(text: str) -> bool:
    """Whether the text ends in a full stop (``.`` or ``。``) that closes a sentence when another word follows."""
    if not _FULL_STOP.search(text):
        return False
    # A neutral word: the splitter ends a sentence even after "Dr." where a word such as "The" follows. It may want
    # closing marks behind the full stop (quotes) or trip over them (brackets), so it is asked both ways.
    closed = text.rstrip()
    for head in (closed, closed.rstrip(_CLOSING)):
        pieces = _pieces(f"{head} Word")
        if len(pieces) > 1 and pieces[-1] == "Word":
            return True
    return False


def may_go_on(text: str) -> bool:
    """Whether only the next token tells if the full stop closes a sentence: after a digit (3.5) or letter (e.g.)."""
    return bool(_MAY_GO_ON.search(text))
