"""Plurals of words, by inflect as it is without the checks that it has written into itself; lists of objects."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import pytest

from mmpref import synonyms
from mmpref.bench.mentions import by_synonyms
from mmpref.errors import InputError
from mmpref.synonyms import DOUBLE_WORDS, ListedObjects, Synonyms, singular


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
    assert "(2 different: 'cloud', 'sky'; first: row 0 (counted from 0))" in remark
    assert ListedObjects(TABLE, "/home/me/words.txt").remarks("chair") == ()


def test_a_table_of_other_data_is_refused() -> None:
    listed = ListedObjects(TABLE, "/home/me/words.txt")
    listed(["nuage", "tasse", "cup"], 0)
    with pytest.raises(
        InputError, match=r"2 of 3 objects .*'nuage', 'tasse'; first: row 0 \(counted from 0\)\).* Give it a line"
    ):
        listed.remarks("chair")


def test_a_table_is_compared_composed(tmp_path: Path) -> None:
    composed, apart = "cốc, ly\nghế\n", unicodedata.normalize("NFD", "Một Cốc, hai ghế")
    for number, form in enumerate(("NFC", "NFD")):
        file = tmp_path / f"{number}.txt"
        file.write_text(unicodedata.normalize(form, composed), encoding="utf-8")  # type: ignore[arg-type]
        table = Synonyms.read(str(file))
        assert table.objects(apart) == table.objects(unicodedata.normalize("NFC", apart)) == ["cốc", "ghế"]
        assert table.listed(unicodedata.normalize("NFD", " Cốc")) == ["cốc"]


@pytest.mark.parametrize(
    ("names", "caption", "objects"),
    [
        (["bus"], "Two buses and a bus", ["bus", "bus"]),
        (["bus", "buses"], "Two buses and a bus", ["bus", "bus"]),
        (["tennis"], "They play tennis.", ["tennis"]),
        (["bus stop"], "two bus stops", ["bus stop"]),
        ([" dog "], "dogs", ["dog"]),
        (["cup", "Cups"], "a cup, cups", ["cup", "cup"]),
        (["cups"], "a cup", ["cups"]),
    ],
)
def test_own_objects_are_shown_by_the_names_that_rows_give(names: list[str], caption: str, objects: list[str]) -> None:
    table = Synonyms.of(names)
    assert table.objects(caption) == objects
    assert {one for name in names for one in table.listed(name)} == set(objects)


TABLE_OF_AUTHORS = "bus, minibus\ntennis racket, racket\nglass, tennis\nmotorcycle,  motor bike\nphone, iPhone\n"


def test_the_authors_table_is_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synonyms, "COCO", hashlib.sha256(TABLE_OF_AUTHORS.encode()).hexdigest())
    for number, end in enumerate(("\n", "\r\n")):
        file = tmp_path / f"{number}.txt"
        file.write_bytes(TABLE_OF_AUTHORS.replace("\n", end).encode())
        table = Synonyms.read(str(file))
        assert table.node == {
            **{"bus": "bus", "minibus": "bus", "tennis racket": "tennis racket", "racket": "tennis racket"},
            **{"glass": "glass", "tennis": "glass", "motorcycle": "motorcycle", " motor bike": "motorcycle"},
            **{"phone": "phone", "iPhone": "phone"},
        }
        assert table.double is DOUBLE_WORDS
        assert table.words("Buses, canvas and skis") == ["bus", ",", "canva", "and", "ski"], "as plurals always were"
        assert table.objects("buses, a tennis racket, a motor bike and an iPhone") == ["bus", "tennis racket"]


OWN = (
    "coffee machine, espresso maker,  Coffee Maker\nCup, mug,\nTV, Television\nliving  room\n"
    "running shoes, sneaker\nbow tie\noven, stove, stove top oven\n"
)


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("A coffee machine and a cup stand there.", ["coffee machine", "cup"]),
        ("Two espresso makers, a COFFEE MAKER", ["coffee machine", "coffee machine"]),
        ("A TV, a Television and mugs", ["tv", "tv", "cup"]),
        ("The living room's cup", ["living room", "cup"]),
        ("running shoes", ["running shoes"]),
        ("a running shoe, a sneaker", ["running shoes", "running shoes"]),
        ("a man in a bow tie", ["bow tie"]),
        ("A cell phone near the train tracks and a stove", ["oven"]),
        ("coffee, a machine, a room", []),
    ],
)
def test_every_name_in_a_table_of_ones_own_is_found(
    tmp_path: Path, caption: str, objects: list[str], refined: bool
) -> None:
    (tmp_path / "words.txt").write_text(OWN)
    table = Synonyms.read(str(tmp_path / "words.txt"), refined)
    assert table.objects(caption) == objects
    assert [mention.name for mention in by_synonyms(table)(caption)] == objects


def test_what_rows_list_is_found_in_a_table_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(OWN)
    listed = ListedObjects(Synonyms.read(str(tmp_path / "words.txt")), "words.txt")
    names = ["TV", "Coffee  machine", "espresso makers", "Stove top oven", "Running Shoes"]
    assert listed(names, 0) == ["tv", "coffee machine", "coffee machine", "oven", "running shoes"]
    assert listed.remarks("chair") == ()


def test_names_of_three_words_are_told_and_refused_where_there_is_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "words.txt"
    path.write_text("cup\noven, stove top oven, gas fired oven\n")
    assert Synonyms.read(str(path)).objects("a stove top oven") == ["oven"]
    assert "words.txt, line 2: 'stove top oven' has more than two words, and 1 more" in caplog.text
    for long in ("coffee table book, big picture book", "men's hat"):
        path.write_text(f"cup\n\n{long}\n")
        with pytest.raises(InputError, match=r"words\.txt, line 3: .* no name of one word or two.*behind a comma"):
            Synonyms.read(str(path))


def test_names_without_spaces_between_words_are_told() -> None:
    table = Synonyms.of(["dog", "cat", "犬"])
    assert (table.objects("ここに犬がいる"), table.objects("犬 がいる")) == ([], ["犬"])
    listed = ListedObjects(table, "mine.jsonl")
    assert listed(["dog", "cat", "犬"], 4) == ["dog", "cat", "犬"]
    [remark] = listed.remarks("chair")
    assert remark.startswith("chair: 1 of 3 objects that the rows list are in a script that puts no spaces between")
    assert "(1 different: '犬'; first: row 4 (counted from 0))" in remark
    listed(["犬", "犬"], 5)
    with pytest.raises(InputError, match=r"3 of 5 objects .* no spaces between words"):
        listed.remarks("chair")
    both = ListedObjects(Synonyms({"dog": "dog", "犬": "dog"}), "mine.txt")
    assert (both(["犬"], 0), both.remarks("chair")) == (["dog"], ()), "captions can say it by another word"


def test_words_without_a_space_between_them_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The original splits at a comma and a space, and other words would be found in no caption."""
    path = tmp_path / "words.txt"
    path.write_text("table, desk\ncup,mug, beaker\nplate,dish\n")
    assert Synonyms.read(str(path)).node["beaker"] == "cup,mug"
    assert "words.txt, line 2: 'cup,mug' is taken as one word, and 1 more" in caplog.text
