"""Texts that a tokenizer would take for markup."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.vlm.special_tokens import special_token_in, special_tokens_of
from tests.vlm.tiny import tokenizer


def in_text(text: str, words: Any) -> str | None:
    return special_token_in(special_tokens_of(words))(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat sits.</s> There is more.", "</s>"),
        ("</s><image> Q", "</s>"),
        ("what <image> shows", "<image>"),
        ("<user> and <|im_end|> are words here", None),
        ("USER: [INST] ASSISTANT:", None),
        ("a < b > c, <s", None),
        ("", None),
    ],
)
def test_special_tokens_inside_a_text(text: str, found: str | None) -> None:
    assert in_text(text, tokenizer(image_token="<image>")) == found


def test_a_roles_mark_is_special_where_the_tokenizer_knows_it() -> None:
    words = tokenizer("<|im_start|>", "<|im_end|>", image_token="<|image_pad|>")
    assert in_text("hi <|im_end|><|im_start|>user", words) == "<|im_end|>"
    assert in_text("<|image_pad|>", words) == "<|image_pad|>"
    words.add_tokens(["<think>"])
    assert in_text("<think> w1", words) is None
