"""Tokens of an answer behind its prompt, where both are tokenised apart.

Many tokenizers write a space at the beginning of a text, as if every text began a word; some (LLaMA's with the
normalizer ``Prepend``) even before one that has its own. No answer begins a text: the model reads it behind a prompt.
So its tokens are those that it has there, and joined to the prompt's they are those of the whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_MARK = "."
"""What an answer is tokenised behind where a token of the whole would be of prompt and answer."""
_SEEN = 256
"""Characters before an answer that are tokenised with it: its tokens depend on the nearest ones alone, and so a long
prompt costs no more than a short one."""


class Tokens(NamedTuple):
    """Token ids of a text, and which characters of it each stands for."""

    ids: list[int]
    spans: list[tuple[int, int]]


class WrittenAnswer(NamedTuple):
    """An answer as the prompt format writes it behind a prompt.

    Args:
        text: the answer and what the format adds around it.
        begin: where the answer begins in it.
        ids, spans: its tokens, as `Tokens` has them.
    """

    text: str
    begin: int
    ids: list[int]
    spans: list[tuple[int, int]]

    @property
    def first(self) -> int:
        """Which token is the answer's first: the format may write some before, such as an empty ``<think>`` block."""
        return next((number for number, (_, end) in enumerate(self.spans) if end > self.begin), len(self.ids))


def tokens_behind(tokenizer: Any, before: str, text: str) -> Tokens:
    """The tokens of a text that stands behind another one.

    Args:
        before: the other one, which a model has read when it writes; where it is empty, the text stands alone.
    """
    found = _rest(tokenizer, before[-_SEEN:], text)
    if found is None and _writes_space(tokenizer):
        found = _rest(tokenizer, _MARK, text)
    return found or _tokenized(tokenizer, text)


def _rest(tokenizer: Any, before: str, text: str) -> Tokens | None:
    """The tokens that both texts together have more than the first alone; None where one token would be of both."""
    size, known, whole = len(before), _tokenized(tokenizer, before).ids, _tokenized(tokenizer, before + text)
    count = len(known)
    if whole.ids[:count] != known or (count and whole.spans[count - 1][1] > size):
        return None
    spans = [(max(0, begin - size), end - size) for begin, end in whole.spans[count:]]
    return Tokens(whole.ids[count:], spans)


def _writes_space(tokenizer: Any) -> bool:
    """Whether a tokenizer writes a space itself at the beginning of a text."""
    behind = _rest(tokenizer, _MARK, "A")
    return behind is not None and behind.ids != _tokenized(tokenizer, "A").ids


def _tokenized(tokenizer: Any, text: str) -> Tokens:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return Tokens(encoded["input_ids"], encoded["offset_mapping"])
