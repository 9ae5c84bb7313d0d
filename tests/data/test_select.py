"""What is left out of a source: by condition, and by draw."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpref.data.build import build_dataset, spelled_out
from mmpref.data.recipe import BuildRecipe
from mmpref.data.select import FILTERED, NOT_DRAWN, Condition, Selection
from mmpref.errors import InputError, UsageError
from mmpref.recipes.schema import fingerprint
from tests.data.pictures import ids, recipe, write_pictures

FACTS: dict[str, str | float] = {"source": "LLaVA-reasoning", "margin": 1.5, "length": 12.0}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("source = LLaVA-reasoning", True),
        ("source=llava", False),
        ("source ~ llava", True),
        ("source != svit", True),
        ("margin >= 1.5", True),
        ("margin > 1.5", False),
        ("margin<2", True),
        ("length <= 12", True),
        ("length = 12", True),
        ("length != 12.0", False),
        ("chosen_model = gpt4_v", False),
        ("chosen_model != gpt4_v", False),
    ],
)
def test_a_condition(text: str, holds: bool) -> None:
    assert Condition.parse(text)(FACTS) is holds


@pytest.mark.parametrize("text", ["", "margin", "margin >=", "1 + 1", "__import__('os') = 1", "source = \n"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not of the form"):
        Condition.parse(text)


def test_a_number_is_not_compared_with_a_text() -> None:
    for text in ("margin > high", "margin >= nan"):
        with pytest.raises(UsageError, match="margin is a number"):
            Condition.parse(text)(FACTS)


def test_texts_have_no_order() -> None:
    with pytest.raises(UsageError, match="source is text, which >= does not compare"):
        Condition.parse("source >= 10")(FACTS)


def test_a_field_that_no_row_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'margn'") as raised:
        Selection((Condition.parse("margn > 1"),))([("a", FACTS)])
    assert "margin" in raised.value.hint


@given(st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=40), st.integers(0, 9), st.data())
def test_a_smaller_draw_is_part_of_a_larger_one(names: list[str], seed: int, data: st.DataObject) -> None:
    large = data.draw(st.integers(1, len(names)))
    small = data.draw(st.integers(1, large))
    rows = [(name, FACTS) for name in names]

    def drawn(count: int) -> set[str]:
        reasons = Selection(subsample=count, seed=seed)(rows)
        assert set(reasons) <= {None, NOT_DRAWN}
        return {name for name, reason in zip(names, reasons, strict=True) if reason is None}

    assert len(drawn(large)) == large
    assert drawn(small) <= drawn(large)
    assert Selection(subsample=small, seed=seed)(rows[::-1]) == Selection(subsample=small, seed=seed)(rows)[::-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pairs"))


def test_a_build_of_a_selection_counts_what_it_left_out(source: Path, tmp_path: Path) -> None:
    chosen = recipe(
        source, where=("source = llava", "margin >= 1"), subsample=9, exclude_images_of=(f"{source}/test.json",)
    )
    manifest = build_dataset(chosen, tmp_path / "run")
    assert manifest["counts"] == {"rows": 9, "skipped": {FILTERED: 25, NOT_DRAWN: 6}}
    assert ids(tmp_path / "run") == sorted(ids(tmp_path / "run"), key=lambda name: int(name[3:]))
    assert json.loads((tmp_path / "run/report.json").read_text())["skipped"][FILTERED]["count"] == 25
    for index in (2, 0, 1):
        build_dataset(chosen, tmp_path / "split", shard=(index, 3))
    [one], [other] = ([*(tmp_path / name / "data").iterdir()] for name in ("run", "split"))
    assert one.read_bytes() == other.read_bytes()


def test_skipped_rows_are_in_no_build_and_places_are_the_sources(source: Path, tmp_path: Path) -> None:
    """Two builds, one after the other in the source, are the build of both."""
    build_dataset(recipe(source, limit=9), tmp_path / "both")
    build_dataset(recipe(source, limit=4), tmp_path / "first")
    build_dataset(recipe(source, skip=4, limit=5), tmp_path / "second")
    rows = {name: table_of(tmp_path / name) for name in ("both", "first", "second")}
    assert rows["first"] + rows["second"] == rows["both"]
    with pytest.raises(InputError, match="has no rows after the first 40"):
        build_dataset(recipe(source, skip=40), tmp_path / "none")
    assert fingerprint(spelled_out(recipe(source, skip=0))) == fingerprint(spelled_out(recipe(source)))


def table_of(run: Path) -> list[dict[str, object]]:
    [file] = (run / "data").glob("*.parquet")
    rows: list[dict[str, object]] = pq.read_table(file).to_pylist()
    return rows


def test_a_selection_of_nothing_says_why(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="filtered: 40"):
        build_dataset(recipe(source, where=("margin > 99",)), tmp_path / "run")


def test_a_chinese_answer_is_as_long_as_it_has_characters(source: Path, tmp_path: Path) -> None:
    texts = {"zh": ("桌子上有一只猫。", "狗。"), "th": ("แมวนั่งบนโต๊ะ", "One dog here."), "en": ("One cat.", "A dog.")}
    rows = [
        {"id": name, "image": f"{number}.png", "prompt": "?", "chosen": chosen, "rejected": rejected}
        for number, (name, (chosen, rejected)) in enumerate(texts.items())
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    made = BuildRecipe(None, str(tmp_path / "rows.json"), "mix", image_root=(str(source),))
    build_dataset(replace(made, where=("length >= 3",)), tmp_path / "run")
    assert ids(tmp_path / "run") == ["zh", "th"]
    build_dataset(replace(made, where=("rejected_length < 2",)), tmp_path / "short")
    assert ids(tmp_path / "short") == ["zh"]
