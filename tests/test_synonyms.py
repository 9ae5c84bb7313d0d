"""Plurals of words, by inflect as it is without the checks that it has written into itself; lists of objects."""

from __future__ import annotations

import pytest

from mmpref.errors import InputError
from mmpref.synonyms import ListedObjects, Synonyms, singular


def test_plurals_are_found_without_checks_of_types() -> None:
    assert [singular(word) for word in ("cups", "churches", "glass", "red")] == ["cup", "church", "glass", "red"]
    import inflect
    import typeguard

    with pytest.raises(TypeError) as raised:
        inflect.engine().singular_noun(3)  # type: ignore[arg-type]
    assert not isinstance(raised.value, typeguard.TypeCheckError)
    assert typeguard.typechecked.__module__.startswith("typeguard"), "others get its checks"


TABLE = Synonyms({"cup": "cup", "mug": "cup", "skis": "skis", "dining table": "dining table", "table": "dining table"})


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("cup", ["cup"]),
        ("Cups", ["cup"]),
        ("mugs", ["cup"]),
        ("skis", ["skis"]),
        ("dining tables", ["dining table"]),
        ("cloud", []),
    ],
)
def test_listed_objects_are_read_as_words_of_captions_are(name: str, objects: list[str]) -> None:
    assert TABLE.listed(name) == objects


def test_names_that_no_line_has_are_left_out_and_told() -> None:
    listed = ListedObjects(TABLE, "/home/me/words.txt")
    assert listed(["cups", "mug", "cloud"], 0) == ["cup", "cup"]
    assert listed(["skis", "sky", "cloud", "table"], 1) == ["skis", "dining table"]
    [remark] = listed.remarks("chair")
    assert remark.startswith(
        "chair: 3 of 7 objects that the rows list are in no line of the table of synonyms words.txt"
    )
    assert "(2 different: 'cloud', 'sky'; first: row 0)" in remark
    assert ListedObjects(TABLE, "/home/me/words.txt").remarks("chair") == ()


def test_a_table_of_other_data_is_refused() -> None:
    listed = ListedObjects(TABLE, "/home/me/words.txt")
    listed(["nuage", "tasse", "cup"], 0)
    with pytest.raises(InputError, match=r"2 of 3 objects .*'nuage', 'tasse'; first: row 0\).* Give it a line"):
        listed.remarks("chair")
