"""Answers that a model cannot tell apart: its tokenizer makes the same of both, as of two words it does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Alike = Callable[[str, str], bool]
"""Whether two texts are the same to a model."""


def alike_to(tokenizer: Any) -> Alike:
    """Whether two texts are the same tokens."""

    def alike(first: str, second: str) -> bool:
        of_both: list[list[int]] = tokenizer([first, second], add_special_tokens=False)["input_ids"]
        return of_both[0] == of_both[1]

    return alike
