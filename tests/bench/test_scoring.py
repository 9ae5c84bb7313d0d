"""The published counting rules, on their own quirks."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest

from mmpref import synonyms
from mmpref.bench.scoring import chair, pope
from mmpref.errors import InputError
from mmpref.synonyms import DOUBLE_WORDS, Synonyms


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no", "no"),
        ("No, there is not.", "no"),
        ("There is not a dog.", "no"),
        ("Yes, there is. It is not big.", "yes"),  # cut at the first full stop
        ("NO", "yes"),
        ("No\nReally", "yes"),
        ("", "yes"),
        ("maybe", "yes"),
        ("No,", "no"),
        ("I do not know", "no"),
        ("nothing", "yes"),
    ],
)
def test_the_original_rule_of_pope(answer: str, said: str) -> None:
    assert pope.parse(answer) == said


@pytest.mark.parametrize(
    ("answer", "unreadable"),
    [
        ("", True),
        ("maybe", True),
        ("nothing", True),
        ("NO", True),
        ("**No**", True),
        ("No\nIt isn't", True),
        ("no", False),
        ("It is not there.", False),
        ("YES", False),
        ("**Yes**", False),
    ],
)
def test_answers_that_the_rule_takes_for_yes_by_default_are_counted(answer: str, unreadable: bool) -> None:
    assert pope.unreadable(answer) is unreadable


def test_pope_rates() -> None:
    found = pope.scores(["Yes", "Yes", "No", "No", ""], ["yes", "no", "no", "yes", "yes"])
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["yes_ratio"] == pytest.approx(3 / 5)
    assert found["parse_failures"] == 1


def test_pope_without_any_yes_divides_by_nothing() -> None:
    assert pope.scores(["No"], ["no"]) == {
        "accuracy": 1,
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "yes_ratio": 0,
        "parse_failures": 0,
    }


def test_pope_refuses_other_labels() -> None:
    with pytest.raises(ValueError, match="yes or no"):
        pope.scores(["Yes"], ["Yes"])


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some lines in the form of CHAIR's table, its leading space included, taken for that table."""
    path = tmp_path / "synonyms.txt"
    path.write_text(
        "person, girl, boy, man, woman, baby, adult, passenger\n"
        "motorcycle, scooter,  motor bike, motor cycle\n"
        "airplane, jetliner, plane, air plane, jet\n"
        "train\nbird, duck\ndog, puppy\ntie\nchair, seat\ntoilet\nwine glass\nskis\nhot dog\nbus\nknife\n"
    )
    monkeypatch.setattr(synonyms, "COCO", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("Two puppies and a dog.", ["dog", "dog"]),
        ("A baby bird sits on an adult dog", ["bird", "dog"]),
        ("a passenger train and a passenger jet", ["train", "airplane"]),
        ("a man in a bow tie", ["person", "tie"]),
        ("the toilet seat near a toilet", ["toilet", "toilet"]),
        ("a toilet and a seat", ["toilet"]),
        ("wine glasses on a table", ["wine glass"]),
        ("A motor bike", []),  # the table's entry has a leading space, so it never matches: kept for comparability
        ("a motor cycle", ["motorcycle"]),
        ("Men with knives on skis by the bus", ["person", "knife", "skis", "bus"]),
        ("hot dogs", ["hot dog"]),
        ("A person stands on the train tracks.", ["person"]),  # a double word of the original: tracks are no train
        ("a train on a train track", ["train"]),
        ("The man's hat is on the dog's head.", ["person", "dog"]),  # nltk splits clitics off
        ("The dogs' bus, and “the man’s knife”.", ["dog", "bus", "person", "knife"]),
        ("a 'dog' (puppy): bird... train?", ["dog", "dog", "bird", "train"]),
        ("a dog-friendly bus and a dog/bird", ["bus"]),  # neither hyphens nor slashes split a word
        ("", []),
    ],
)
def test_objects_of_a_caption(coco: Path, caption: str, objects: list[str]) -> None:
    assert Synonyms.read(str(coco)).objects(caption) == objects


def test_the_double_words_are_all_of_the_original() -> None:
    assert len(DOUBLE_WORDS) == 55
    assert DOUBLE_WORDS.keys() >= {"train track", "stove top oven", "baby cub", "wine glas"}


def test_chair_counts_mentions_and_recall_counts_types(coco: Path) -> None:
    table = Synonyms.read(str(coco))
    found = chair.scores(["a dog, a dog and a bird", "a man"], [["dog", "knife"], ["person"]], table)
    assert found["chair_i"] == pytest.approx(1 / 4)
    assert found["chair_s"] == pytest.approx(1 / 2)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["mentions"] == pytest.approx(2)


def test_hallucinated_mentions_are_told_apart_where_the_usual_is_known(coco: Path) -> None:
    table = Synonyms.read(str(coco))
    counts = chair.count("a dog, a bird, a bird and a bus", ["dog"], table, usual=["bird", "dog", "knife"])
    assert (counts["mentions"], counts["hallucinated"], counts["typical"], counts["other"]) == (4, 3, 2, 1)
    assert "typical" not in chair.count("a bird", ["dog"], table)
    assert chair.count("a bird", ["dog"], table, usual=[])["other"] == 1


def test_no_object_mentioned_is_no_error(coco: Path) -> None:
    found = chair.scores(["nothing"], [["dog"]], Synonyms.read(str(coco)))
    assert math.isnan(found["chair_i"]), "of no mention no share is hallucinated"
    assert (found["chair_s"], found["recall"]) == (0, 0)


def test_a_missing_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table of synonyms"):
        Synonyms.read(str(tmp_path / "none.txt"))
