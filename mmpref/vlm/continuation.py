"""Tokens of a text that goes on from another one, where both are tokenised apart.

Tokenizers of the SentencePiece kind write a space at the beginning of a text, as if every text began a word. A whole
answer does; what continues an answer does not, or has its own space already. So its tokens are taken from behind
another text's, and joined to those of the text before it they are those of the whole.
"""

from __future__ import annotations

from typing import Any

_BEFORE = "."
"""What continuations are tokenised behind."""


class Continuation(str):
    """What continues a context: a text that `tokens_behind` tokenises."""


def writes_space(tokenizer: Any) -> bool:
    """Whether a tokenizer writes a space itself at the beginning of a text."""
    first: str = tokenizer.convert_ids_to_tokens(tokenizer("A", add_special_tokens=False)["input_ids"])[0]
    return first.startswith("▁")


def tokens_behind(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens of a text that stands behind another, and which characters of it each stands for."""
    size = len(_BEFORE) if writes_space(tokenizer) else 0
    ids, spans = _tokenized(tokenizer, _BEFORE[:size] + text)
    if any(begin < size < end for begin, end in spans):  # one token would be of both
        return _tokenized(tokenizer, text)
    own = [number for number, (begin, _) in enumerate(spans) if begin >= size]
    return [ids[number] for number in own], [(spans[number][0] - size, spans[number][1] - size) for number in own]


def _tokenized(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return encoded["input_ids"], encoded["offset_mapping"]
