"""What other libraries say is shortened between words."""

from __future__ import annotations

import pytest

from mmpref.errors import shortened


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("see https://a.org/b", "see https://a.org/b"),
        ("no such repository, see https://a.org/b", "no such repository, see ..."),
        ("x" * 30, "x" * 24 + " ..."),
        ("bad: " + "x" * 30, "bad: " + "x" * 19 + " ..."),
    ],
)
def test_a_text_is_shortened_between_words(text: str, said: str) -> None:
    assert shortened(text, 24) == said
