"""Texts that a tokenizer does not take for text: an end-of-sequence token in the middle of an answer would teach a
stop, and then to go on.

What a chat template writes as ordinary text (``USER:``, ``[INST]``, a ``<user>`` that the tokenizer does not know) is
none of them: its tokens are those of words, in prompts and in answers alike. Nor are tokens that were added to the
vocabulary as plain ones (runs of spaces, ``<think>``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any


def special_tokens_of(tokenizer: Any) -> list[str]:
    """All texts that the tokenizer makes special tokens of, in a fixed order."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    tokens = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    return sorted(token for token in tokens if token.strip())


@lru_cache(maxsize=8)
def _pattern(tokens: frozenset[str]) -> re.Pattern[str]:
    """Finds these tokens, the longest that begins at a place; nothing where there are none."""
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or r"(?!)")


def special_token_in(tokens: Collection[str]) -> Callable[[str], str | None]:
    """A function that gives the first of these tokens that a text contains, or None."""
    pattern = _pattern(frozenset(tokens))

    def first(text: str) -> str | None:
        match = pattern.search(text)
        return match[0] if match else None

    return first
