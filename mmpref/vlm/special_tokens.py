"""Texts that a tokenizer does not take for text: an end-of-sequence token in the middle of an answer would teach a
stop, and then to go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any


def special_tokens_of(tokenizer: Any) -> list[str]:
    """All texts that the tokenizer makes special tokens of, in a fixed order."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    tokens = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    return sorted(token for token in tokens if token.strip())


def special_token_in(tokens: Collection[str]) -> Callable[[str], str | None]:
    """A function that gives the first of these tokens that a text contains, or None."""
    if not tokens:
        return lambda _: None
    pattern = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))

    def first(text: str) -> str | None:
        found = pattern.search(text)
        return found[0] if found else None

    return first
