"""Which words of an answer are mentions, and which of them the reference does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.bench.mentions import by_references, by_synonyms, hallucinated
from mmpref.synonyms import Synonyms


@pytest.fixture
def synonyms(tmp_path: Path) -> Synonyms:
    (tmp_path / "synonyms.txt").write_text("dog, puppy\nhot dog\ncar, taxi\nfork\nknife\n")
    return Synonyms.read(str(tmp_path / "synonyms.txt"))


def test_objects_have_their_place_and_are_those_of_chair(synonyms: Synonyms) -> None:
    text = "Two puppies near a hot dog, a dog-shaped thing and taxis. Knives!"
    found = by_synonyms(synonyms)(text)
    assert [(text[one.begin : one.end], one.name) for one in found] == [
        ("puppies", "dog"),
        ("hot dog", "hot dog"),
        ("taxis", "car"),
        ("Knives", "knife"),
    ]
    assert [one.name for one in found] == synonyms.objects(text)


def test_what_reference_or_row_names_is_no_hallucination(synonyms: Synonyms) -> None:
    answer = "A dog and a fork. A puppy, a car and a knife. Another car."
    wrong, names = hallucinated(by_synonyms(synonyms), answer, "A puppy sits.", ["Fork"])
    assert [(one.begin, one.end, one.name) for one in wrong] == [
        (answer.index(name), answer.index(name) + len(name), name) for name in ("car", "knife")
    ]
    assert names == 4


def test_without_a_table_mentions_are_content_words_of_several_references() -> None:
    references = [f"There is a fork and a {thing}." for thing in ("knife", "knife", "knife", "spoon", "spoon", "cup")]
    find = by_references([*references, "A street.", "A beach.", "A farm.", "A field.", "A wood.", "A room."])
    assert [one.name for one in find("There are forks, a knife, a spoon and a cup.")] == ["fork", "knife"]
    assert [one.name for one in by_references(references)("There is a fork and a knife.")] == ["knife"]
