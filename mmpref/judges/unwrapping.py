"""Texts as models write them, without what they put around: a fence, quotation marks, a line that announces them."""

from __future__ import annotations

import re
from collections.abc import Callable

_OPENER = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|no problem)\b"
_TEXT = r"(?:answer|version|response|reply|text|description|caption|statement|sentence|paragraph)"
_TAIL = (
    rf"(?:of (?:the|your|this) (?:original )?{_TEXT}|with (?:\w+ )?hallucinations?|(?:as|you) (?:requested|asked for))"
)
_ANNOUNCED = re.compile(
    rf"[*_#>\s]*(?:{_OPENER}[!,.]*\s+)?(?:(?:here(?:['’]s| is)|below is|this is)\s+)?(?:(?:the|a|an|my|your)\s+)?"
    rf"(?:(?:rewritten|corrected|revised)(?:\s+{_TEXT})?"
    rf"|(?:new|modified|altered|edited|updated|changed|hallucinated)\s+{_TEXT})(?:\s+{_TAIL})?"
    r"[*_]*\s*:[*_]*\s*(?=\S)",
    re.IGNORECASE,
)
"""``Sure! Here is the rewritten answer:``, or ``Rewritten:`` alone."""
_OPENING_LINE = re.compile(rf"[*_#>\s]*{_OPENER}[!,.:][^\n]{{0,100}}(?<=:)[*_]*[^\S\n]*\n\s*(?=\S)", re.IGNORECASE)
"""``Sure, here you go:``, a line of its own; not ``OK signs read:``."""
_ENDS_IN_COLON = re.compile(r"[^\n]*:[*_]*[^\S\n]*\n")
_FENCED = re.compile(r"(`{3,}|~{3,})(?:[^\n`]*\n)?(.*?)\s*\1", re.DOTALL)
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^“”]+)”")


def unwrapped(text: str, original: str) -> str:
    """A text without its wrapping, where that is unambiguous: a fence or quotation marks around the whole, or words
    before a colon that announce it. A wrapping that the original has too belongs to the text.

    Args:
        original: which the text is another version of.
    """
    text, original = text.strip(), original.strip()
    changed = True
    while changed:
        changed = False
        for without in _LAYERS:
            if without(original) == original and (inner := without(text)) != text:
                text, changed = inner, True
    if not _ENDS_IN_COLON.match(original) and (line := _OPENING_LINE.match(text)):
        return unwrapped(text[line.end() :], original)
    return text


def _without_announcement(text: str) -> str:
    return _ANNOUNCED.sub("", text, count=1) if _ANNOUNCED.match(text) else text


def _without_fence(text: str) -> str:
    fenced = _FENCED.fullmatch(text)
    return fenced[2].strip() if fenced and fenced[1] not in fenced[2] and fenced[2].strip() else text


def _without_quotes(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    return (quoted[1] or quoted[2]).strip() or text if quoted else text


_LAYERS: tuple[Callable[[str], str], ...] = (_without_announcement, _without_fence, _without_quotes)
