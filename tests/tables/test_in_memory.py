"""Rows in memory: frames, datasets and dicts as tables that are named by their content."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmpref.errors import InputError
from mmpref.images import decode
from mmpref.tables.cells import image_cells
from mmpref.tables.image_cells import read_image
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.in_memory import is_table, spec_of
from mmpref.tables.open import open_table


def photo(seed: int = 0, size: tuple[int, int] = (9, 7)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def rows(count: int = 3) -> list[dict[str, Any]]:
    return [{"image": photo(n), "question": f"What is it, {n}?", "answer": "Noise."} for n in range(count)]


def pixels(row: dict[str, Any]) -> np.ndarray:
    [cell] = image_cells(row)
    return np.asarray(decode(read_image(cell, ImageRoots([]))))


def test_the_same_rows_have_one_name_in_whatever_form() -> None:
    specs = {
        spec_of(rows()),
        spec_of(iter(rows())),
        spec_of(pd.DataFrame(rows())),
        spec_of(datasets.Dataset.from_list(rows())),
    }
    [spec] = specs
    assert spec.startswith("memory:")
    assert len(spec) == len("memory:") + 16
    assert spec_of(rows(2)) != spec
    assert spec_of([{**row, "answer": "Static."} for row in rows()]) != spec


def test_a_table_of_them_gives_every_row_on_every_pass() -> None:
    table = open_table(spec_of(pd.DataFrame(rows())), "test")
    for _ in range(2):
        found = list(table)
        assert [row["question"] for row in found] == [row["question"] for row in rows()]
        assert all((pixels(row) == np.asarray(photo(n))).all() for n, row in enumerate(found))
    facts = table.facts()
    assert (facts["id"], facts["split"], facts["revision"]) == ("rows in memory", "test", None)
    assert "0x" not in str(facts)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16", "CMYK"])
def test_pictures_are_kept_without_loss(mode: str) -> None:
    grey = np.arange(63, dtype=np.uint16).reshape(9, 7) * 900
    picture = Image.fromarray(grey) if mode == "I;16" else photo().convert(mode)
    [row] = open_table(spec_of([{"image": picture, "question": "?", "answer": "!"}]))
    with Image.open(io.BytesIO(row["image"]["bytes"])) as opened:
        assert np.array_equal(np.asarray(opened.convert(picture.mode)), np.asarray(picture))


def test_a_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    buffer = io.BytesIO()
    photo(size=(8, 16)).save(buffer, "JPEG", exif=exif)
    with Image.open(buffer) as opened:
        [row] = open_table(spec_of([{"image": opened, "question": "?", "answer": "!"}]))
    assert pixels(row).shape == (16, 8, 3)


def test_images_of_every_kind_and_nested_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(encoded(photo()))
    picture = np.asarray(photo())
    cells = [photo(), picture, encoded(photo()), "a.png", tmp_path / "a.png", [Path("a.png")], picture / 255]
    table = open_table(spec_of([{"images": cell, "messages": np.array([{"role": "user"}])} for cell in cells]))
    for row in table:
        assert np.array_equal(pixels(row), picture)
        assert row["messages"] == [{"role": "user"}]
        assert str(tmp_path) not in str(row), "no folder of this machine goes into what is made of it"


def test_an_image_file_that_changes_is_another_table(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    specs = set()
    for seed in range(2):
        file.write_bytes(encoded(photo(seed)))
        specs.add(spec_of([{"image": str(file)}]))
    assert len(specs) == 2


def test_relative_paths_are_left_to_an_image_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(encoded(photo()))
    [row] = open_table(spec_of([{"image": "a.png"}], own_paths=False))
    assert row == {"image": "a.png"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "are none"),
        (iter([3]), r"Row 0 \(counted from 0\) in memory is a int"),
        (
            iter([{"image": np.zeros((4, 4, 7), dtype=np.uint8)}]),
            r"Row 0 \(counted from 0\) in memory: an array of 4x4x7 is no image",
        ),
        ([{"image": object()}], r"Row 0 \(counted from 0\) in memory: a object is no cell"),
        (datasets.DatasetDict(train=datasets.Dataset.from_list([{"a": 1}])), r"Give one of them, .* data\['train'\]"),
    ],
)
def test_what_is_no_table(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        spec_of(given)


def test_a_name_of_another_process_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"another process.*save them to a file"):
        open_table("memory:0123456789abcdef")


def test_names_are_no_tables() -> None:
    assert not any(map(is_table, ["testbed", Path("rows.json"), ["a", "b"], [pd.DataFrame(rows())], [], None]))
    assert all(map(is_table, [rows(), pd.DataFrame(rows()), iter([]), datasets.Dataset.from_list([{"a": 1}])]))


def test_a_streamed_dataset_is_held() -> None:
    assert spec_of(datasets.Dataset.from_list(rows()).to_iterable_dataset()) == spec_of(rows())


def test_a_broken_picture_is_a_broken_file_and_costs_its_row_only(tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(encoded(photo(size=(90, 70)))[:-2000])
    with Image.open(file) as opened:
        found = list(open_table(spec_of([*rows(1), {"image": opened, "question": "?", "answer": "!"}])))
        assert found[1]["image"]["bytes"] == file.read_bytes()
    with pytest.raises(
        InputError, match=r"Row 0 \(counted from 0\) in memory: an image that cannot be decoded: its file is closed"
    ):
        spec_of([{"image": opened, "question": "?", "answer": "!"}])
