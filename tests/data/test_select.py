"""What is left out of a source: by condition, by draw, and because an evaluation set has the image."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmpref.data.build import build_dataset
from mmpref.data.contamination import EXCLUDED, ExcludedImages
from mmpref.data.recipe import BuildRecipe
from mmpref.data.select import FILTERED, NOT_DRAWN, Condition, Selection
from mmpref.errors import InputError, RunError, UsageError
from mmpref.types import Example, ImageData, Skip

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


def picture(seed: int, size: tuple[int, int] = (120, 90), **saving: Any) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, saving.pop("format", "PNG"), **saving)
    return buffer.getvalue()


def example(image: bytes, name: str = "") -> Example:
    return Example("one", (ImageData(image, name),), (), "", "")


def test_an_image_is_recognised_scaled_and_compressed() -> None:
    excluded = ExcludedImages([ImageData(picture(seed)) for seed in range(20)])
    for seed in range(20):
        again = picture(seed, (300, 225), format="JPEG", quality=60)
        made = excluded(example(again))
        assert isinstance(made, Skip)
        assert made.reason == EXCLUDED
    for seed in range(20, 120):
        assert excluded(example(picture(seed))) == example(picture(seed))


def test_coco_names_of_both_years_are_one_image() -> None:
    excluded = ExcludedImages([ImageData(picture(1), "val2014/COCO_val2014_000000000042.jpg")])
    assert excluded(example(picture(2), "000000000042.jpg")) == Skip("one", EXCLUDED, "COCO image 42")
    assert isinstance(excluded(example(picture(2), "000000000043.jpg")), Example)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for number in range(40):
        (folder / f"{number}.png").write_bytes(picture(number))
        rows.append(
            {
                "id": f"row{number}",
                "image": f"{number}.png",
                "prompt": "What is it?",
                "margin": number / 10,
                "source": "llava" if number % 2 else "svit",
                "chosen": f"It is {number}.",
                "rejected": "It is nothing.",
            }
        )
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "test.json").write_text(json.dumps([{"image": f"{number}.png"} for number in range(5)]))
    return folder


def recipe(source: Path, **changes: Any) -> BuildRecipe:
    return replace(BuildRecipe(None, str(source / "rows.json"), "mix", block_size=4), **changes)


def ids(run: Path) -> list[str]:
    return [row["id"] for file in sorted((run / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


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


def test_images_of_an_evaluation_set_are_left_out_and_told(source: Path, tmp_path: Path) -> None:
    held_out = recipe(source, exclude_images_of=(f"{source}/test.json:test",))
    manifest = build_dataset(held_out, tmp_path / "run")
    assert manifest["counts"] == {"rows": 35, "skipped": {EXCLUDED: 5}}
    assert not set(ids(tmp_path / "run")) & {f"row{number}" for number in range(5)}
    assert [table["id"] for table in manifest["excluded"]] == [f"{source}/test.json"]


def test_an_evaluation_set_that_changes_under_a_run_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "eval" / name).write_bytes((source / name).read_bytes())
    listed = tmp_path / "eval/test.json"
    listed.write_text('[{"image": "0.png"}]')
    held_out = recipe(source, exclude_images_of=(str(listed),))
    build_dataset(held_out, tmp_path / "run", shard=(0, 2))
    listed.write_text('[{"image": "1.png"}]')
    with pytest.raises(RunError, match="exclude-images-of"):
        build_dataset(held_out, tmp_path / "run", shard=(1, 2))


def test_an_evaluation_set_without_images_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text('[{"image": "nowhere.png"}]')
    lacking = str(tmp_path / "test.json")
    for tables in ((lacking,), (f"{source}/test.json", lacking)):
        with pytest.raises(InputError, match=f"No image of {lacking}") as raised:
            build_dataset(recipe(source, exclude_images_of=tables), tmp_path / "run")
        assert "nowhere.png" in raised.value.hint


def test_images_of_an_evaluation_set_that_cannot_be_read_are_told(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """But for those with a COCO name, which says enough."""
    source = shutil.copytree(source, tmp_path / "source")
    rows = [{"image": name} for name in ("0.png", "gone.png", "val2014/COCO_val2014_000000000042.jpg")]
    (source / "part.json").write_text(json.dumps(rows))
    (source / "broken.json").write_text(json.dumps([*rows, {"image": "broken.png"}]))
    (source / "broken.png").write_bytes(b"GIF89a")
    (source / "000000000042.png").write_bytes((source / "7.png").read_bytes())
    more = json.loads((source / "rows.json").read_text())
    more[7]["image"] = "000000000042.png"
    (source / "rows.json").write_text(json.dumps(more))
    manifest = build_dataset(recipe(source, exclude_images_of=(f"{source}/part.json",)), tmp_path / "run")
    assert manifest["counts"]["skipped"] == {EXCLUDED: 2}
    assert "1 of 3 images" in caplog.text
    assert "gone.png" in caplog.text
    build_dataset(recipe(source, exclude_images_of=(f"{source}/broken.json",)), tmp_path / "other")
    assert "2 of 4 images" in caplog.text


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
