"""Plurals of words, by inflect as it is without the checks that it has written into itself."""

from __future__ import annotations

import pytest

from mmpref.synonyms import singular


def test_plurals_are_found_without_checks_of_types() -> None:
    assert [singular(word) for word in ("cups", "churches", "glass", "red")] == ["cup", "church", "glass", "red"]
    import inflect
    import typeguard

    with pytest.raises(TypeError) as raised:
        inflect.engine().singular_noun(3)  # type: ignore[arg-type]
    assert not isinstance(raised.value, typeguard.TypeCheckError)
    assert typeguard.typechecked.__module__.startswith("typeguard"), "others get its checks"
