"""What other libraries say is shortened between words."""

from __future__ import annotations

import pytest

from mmpref.errors import excerpt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("see https://a.org/b", "see https://a.org/b"),
        ("no such repository, see https://a.org/b", "no such repository, see ..."),
        ("see https://a.org/one-of-many/pages", "see ..."),
    ],
)
def test_a_text_is_shortened_between_words(text: str, said: str) -> None:
    assert excerpt(text, 28) == said
