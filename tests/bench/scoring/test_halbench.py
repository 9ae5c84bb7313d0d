"""Object HalBench: what a list of names mentions, by the rule of the authors' script."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.bench.scoring import halbench, ratings
from mmpref.synonyms import Synonyms


@pytest.fixture
def table(tmp_path: Path) -> Synonyms:
    """Lines in the form of synonyms_refine.txt, leading spaces included."""
    path = tmp_path / "synonyms_refine.txt"
    path.write_text(
        "person, man, woman, people, child, player\nmotorcycle,  motor bike\ncar\nbus\ntraffic light, street light\n"
        "dog, puppy\nwine glass\ntie, bow, bow tie\nchair, seat\ntoilet\noven, stove, stove top oven\ntrain\nbottle\n"
        "dining table, table\nhot dog\nbowl\ntennis racket, racket\n\n"
    )
    return Synonyms.read(str(path), refined=True)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["Dogs", "dog", "puppy"], ["dog", "puppy"]),  # a word once, synonyms apart
        (["men", "women", "people"], ["man", "woman", "people"]),
        (["motor bikes"], ["motor bike"]),  # whose entry has a leading space that only CHAIR keeps
        (["car at a traffic light"], ["traffic light"]),  # double words alone, where there are any
        (["bus stop", "dog house"], []),  # nouns side by side are one
        (["tennis player"], []),
        (["group of people", "bottle of wine", "man with a dog"], ["people", "bottle", "man", "dog"]),
        (["stove top oven"], ["stove top oven"]),  # three words: no double word, but one entry as a whole
        (["wine glasses"], ["wine glass"]),
        (["tennis rackets"], ["tennis racket"]),  # inflect takes tennis for a plural
        (["bow ties"], ["tie"]),
        (["baby dog", "passenger train"], ["dog", "train"]),
        (["train tracks"], []),
        (["hot dog"], ["hot dog"]),
        (["toilet", "seat"], ["toilet"]),
        (["toilet seat"], ["toilet"]),
        (["man, woman"], ["man", "woman"]),
        (["the man's car"], ["man", "car"]),
        (["sky", ""], []),
        ([], []),
    ],
)
def test_words_of_names(table: Synonyms, names: list[str], words: list[str]) -> None:
    assert halbench.mentions(names, table) == words


def test_captions_are_parsed_with_the_refined_double_words(table: Synonyms) -> None:
    assert table.objects("A motor bike and a bus at a street light") == ["motorcycle", "bus", "traffic light"]
    assert "stop light" not in table.double  # which CHAIR's own list has, and this table does not


def test_counts_of_a_response(table: Synonyms) -> None:
    counts = halbench.count(["man", "woman", "bus"], " A man  and so on ", ["person", "dog"], table)
    assert counts == {
        "mentions": 3,
        "hallucinated": 1,
        "with_hallucination": 1,
        "with_mention": 1,
        "found": 1,
        "objects": 2,
        "words": 6,
        "n": 1,
    }


def test_three_words_are_short() -> None:
    assert halbench.is_short("")
    assert halbench.is_short(" a  red bus ")
    assert not halbench.is_short("a red bus .")


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('Here:\n["a"]', ["a"]),
        ('```json\n["a",\n "b"]\n```\nDone.', ["a", "b"]),
        ('```\n["a"]\n```', ["a"]),
        ('[\n "a"\n]', ["a"]),
        ("[]", []),
        ("()", []),
        ("```json\n[]\n```", []),
        ('["a"]\nThat is all.', None),
        ('{"a": 1}', None),
        ("[1]", None),
        ('["a"', None),
        ("", None),
        ("a, b", None),
    ],
)
def test_lists_of_objects(reply: str, names: list[str] | None) -> None:
    assert ratings.objects(reply) == names
