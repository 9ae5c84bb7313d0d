"""AMBER's counting, against the original's index arithmetic restated, and its exact answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpref.bench.scoring import amber
from mmpref.errors import InputError

OBJECTS = ["dog", "cat", "tree", "lake", "boat"]
WORDS = [*OBJECTS, "puppy", "leaf", "water", "sail"]
RELATIONS = st.fixed_dictionaries({name: st.lists(st.sampled_from(WORDS), max_size=3) for name in OBJECTS})
ANNOTATED = st.lists(st.sampled_from(OBJECTS), max_size=4)


def _alike(first: str, second: str) -> bool:
    return {first, second} in ({"puppy", "dog"}, {"water", "lake"}, {"sail", "leaf"})


def _original(nouns, truth, imagined, relation, safe, similar):
    """The lists of flags and the offsets of `inference.py`."""

    def lists(objects):
        words, flags = [], []
        for index, name in enumerate(objects):
            words += relation[name]
            flags += [index] * len(relation[name])
        return words + objects, flags + [0] * len(objects)

    def mark(flags, size, j):
        offset = len(flags) - size
        if j < offset:
            flags[flags[j] + offset] = 1
        else:
            flags[j] = 1

    safe_words, safe_flags = lists(truth)
    bad_words, bad_flags = lists(imagined)
    wrong = [0] * len(nouns)
    for i, noun in enumerate(nouns):
        if noun in safe:
            continue
        if noun in safe_words:
            mark(safe_flags, len(truth), safe_words.index(noun))
            continue
        if noun in bad_words:
            mark(bad_flags, len(imagined), bad_words.index(noun))
        for j, word in enumerate(bad_words):
            if similar(noun, word):
                mark(bad_flags, len(imagined), j)
                break
        fine = False
        for j, word in enumerate(safe_words):
            if similar(noun, word):
                fine = True
                mark(safe_flags, len(truth), j)
                break
        if not fine:
            wrong[i] = 1
    return {
        "mentions": len(nouns),
        "hallucinated": sum(wrong),
        "covered": sum(safe_flags[-len(truth) :]),
        "objects": len(safe_flags[-len(truth) :]),
        "conjured": sum(bad_flags[-len(imagined) :]),
        "imagined": len(bad_flags[-len(imagined) :]),
        "clean": int(not any(wrong)),
        "n": 1,
    }


@pytest.mark.parametrize("similar", [amber.exactly, _alike], ids=["exact", "similar"])
@given(st.lists(st.sampled_from(WORDS), max_size=6), ANNOTATED, ANNOTATED, RELATIONS, st.sets(st.sampled_from(WORDS)))
def test_captions_are_counted_as_the_original_does(similar, nouns, truth, imagined, relation, safe) -> None:
    found = amber.count(nouns, truth, imagined, amber.Tables(relation, frozenset(safe)), similar)
    assert found == _original(nouns, truth, imagined, relation, safe, similar)


def test_nouns_are_the_tables_own_words_made_singular() -> None:
    tables = amber.Tables({"dog": ["puppy"], "glass": [], "people": []})
    assert amber.nouns("Two Dogs, a puppy and glasses; the people's dog-house. Cats!", tables) == [
        "dog",
        "puppy",
        "glass",
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [("Yes", "yes"), ("No", "no"), ("yes", "other"), ("Yes.", "other"), ("No ", "other"), ("", "other")],
)
def test_only_exact_answers_are_read(answer: str, said: str) -> None:
    assert amber.parse(answer) == said


def test_word_tables_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no word table at .*none\.json"):
        amber.Tables.read(str(tmp_path / "none.json"), None)
    (tmp_path / "list.json").write_text(json.dumps(["dog"]))
    with pytest.raises(InputError, match="no mapping"):
        amber.Tables.read(str(tmp_path / "list.json"), None)
    (tmp_path / "cut.json").write_text('{"dog": [')
    with pytest.raises(InputError, match="is not JSON"):
        amber.Tables.read(str(tmp_path / "cut.json"), None)


def _written(folder: Path, relation: dict[str, list[str]]) -> str:
    path = folder / "relation.json"
    path.write_text(json.dumps(relation))
    return str(path)


def test_words_with_capitals_are_found_as_captions_are_read(tmp_path: Path) -> None:
    (tmp_path / "safe.txt").write_text("Image\n")
    relation = _written(tmp_path, {"television": ["TV"], "Dog": ["Puppy"], "dog": ["hound"]})
    tables = amber.Tables.read(relation, str(tmp_path / "safe.txt"))
    assert tables == amber.Tables({"television": ["tv"], "dog": ["puppy", "hound"]}, frozenset({"image"}))
    assert amber.nouns("A TV, a Dog and a puppy", tables) == ["tv", "dog", "puppy"]
    assert tables.object_of("Television") == "television"


@pytest.mark.parametrize("name", ["coffee machine", "Kaffeemühle", "MP3"])
def test_an_object_that_no_single_word_tells_is_refused(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    relation = {"cup": [], name: [f"big {name}"]}
    told = rf"relation\.json: '{name.lower()}' has no name of one word of the letters a to z.* Give it one"
    with pytest.raises(InputError, match=told):
        amber.Tables.read(_written(tmp_path, relation), None)
    tables = amber.Tables.read(_written(tmp_path, {**relation, name: ["machine", f"big {name}"]}), None)
    assert amber.nouns("two machines", tables) == ["machine"]
    assert tables.object_of(name) == name.lower()
    assert f"relation.json: 'big {name.lower()}' is no single word of the letters a to z" in caplog.text


def test_annotated_objects_are_read_as_captions_are() -> None:
    tables = amber.Tables({"dog": [], "glasses": []})
    assert [tables.object_of(name) for name in ("Dogs", "glasses", "cats")] == ["dog", "glasses", "cats"]
