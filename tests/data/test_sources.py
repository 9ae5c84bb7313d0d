"""Rows of every shape, from real files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref import images as mmpref_images
from mmpref.data.sources import Source
from mmpref.errors import InputError
from mmpref.tables.open import open_table
from mmpref.types import Example, Skip

USER, ASSISTANT = "What is it?", "A red square."
TURNS = [{"role": "user", "content": USER}, {"role": "assistant", "content": ASSISTANT}]
STRUCTURED = [
    {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": USER}]},
    {"role": "assistant", "content": [{"type": "text", "text": ASSISTANT}]},
]
LLAVA = [{"from": "human", "value": f"<image>\n{USER}"}, {"from": "gpt", "value": ASSISTANT}]
LLAVA_END = [{"from": "human", "value": f"{USER}\n<image>"}, {"from": "gpt", "value": ASSISTANT}]


@pytest.fixture
def root(tmp_path: Path, png: bytes) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(png)
    return folder


def read(tmp_path: Path, rows: list[dict[str, Any]], root: Path | None = None) -> list[Example | Skip]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(open_table(str(file)), (str(root),) if root else ())
    return [row for _, block in source.blocks(2, lambda _: True) for row in block]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": TURNS[:1], "completion": TURNS[1:], "images": ["a.png"]},
        {"prompt": TURNS[:1], "chosen": TURNS[1:], "images": ["a.png"]},
        {"messages": TURNS, "images": ["a.png"]},
        {"messages": STRUCTURED, "image": "a.png"},
        {"conversations": LLAVA, "image": "a.png", "id": "7"},
        {"conversations": LLAVA_END, "image": "a.png"},
        {"question": USER, "answer": ASSISTANT, "image": "a.png"},
        {"instruction": USER, "output": ASSISTANT, "img_path": "a.png"},
    ],
)
def test_every_shape_gives_the_same_example(tmp_path: Path, root: Path, row: dict[str, Any]) -> None:
    [example] = read(tmp_path, [row], root)
    assert isinstance(example, Example)
    assert [(turn.role, turn.content) for turn in example.prompt] == [("user", USER)]
    assert example.answer == ASSISTANT
    assert example.images[0].content == (root / "a.png").read_bytes()
    assert example.id == row.get("id", "0")


def test_earlier_turns_are_prompt_and_several_images_are_kept(tmp_path: Path, root: Path) -> None:
    turns = [*TURNS, {"role": "user", "content": "And its colour?"}, {"role": "assistant", "content": "Red."}]
    [example] = read(tmp_path, [{"messages": turns, "images": ["a.png", "a.png"]}], root)
    assert isinstance(example, Example)
    assert [turn.role for turn in example.prompt] == ["user", "assistant", "user"]
    assert (example.answer, len(example.images)) == ("Red.", 2)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": TURNS}, "no-image"),
        ({"messages": TURNS[:1], "images": ["a.png"]}, "empty-answer"),
        ({"messages": TURNS[1:], "images": ["a.png"]}, "empty-prompt"),
        ({"question": USER, "answer": " ", "image": "a.png"}, "empty-answer"),
        ({"question": "", "answer": "Yes", "image": "a.png"}, "empty-prompt"),
        ({"messages": [*TURNS, *STRUCTURED], "images": ["a.png"]}, "image-placement"),
        ({"messages": TURNS, "images": ["missing.png"]}, "missing-image"),
        ({"messages": TURNS, "images": ["../rows.jsonl"]}, "bad-image"),
        ({"messages": TURNS, "images": [3]}, "bad-image"),
    ],
)
def test_rows_that_cannot_be_used_are_skipped(tmp_path: Path, root: Path, row: dict[str, Any], reason: str) -> None:
    good = {"messages": TURNS, "images": ["a.png"]}  # where no image at all is there, the whole table is refused
    _, skip = read(tmp_path, [good, row], root)
    assert isinstance(skip, Skip)
    assert skip.reason == reason


@pytest.mark.parametrize("damage", ["corrupt", "truncated", "empty", "bomb"])
def test_bad_images_are_counted_skips(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(noise, "PNG")
    huge = io.BytesIO()
    Image.new("1", (9000, 9000)).save(huge, "PNG")
    content = {
        "corrupt": b"no image at all",
        "truncated": noise.getvalue()[: len(noise.getvalue()) // 2],
        "empty": b"",
        "bomb": huge.getvalue(),
    }[damage]
    (root / "bad.png").write_bytes(content)
    rows = [{"messages": TURNS, "images": [name]} for name in ("bad.png", "a.png")]
    skip, example = read(tmp_path, rows, root)
    assert isinstance(skip, Skip)
    assert isinstance(example, Example)
    assert skip.reason == "bad-image"
    assert "bad.png" in skip.detail
    assert mmpref_images.MAX_PIXELS < 9000 * 9000


def test_a_link_out_of_the_root_is_refused(tmp_path: Path, root: Path, png: bytes) -> None:
    (tmp_path / "secret.png").write_bytes(png)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    _, skip = read(tmp_path, [{"messages": TURNS, "images": [name]} for name in ("a.png", "link.png")], root)
    assert isinstance(skip, Skip)
    assert "leaves its root" in skip.detail


@pytest.mark.parametrize(
    ("named", "on_disk"),
    [
        ("000000000009.jpg", "train2014/COCO_train2014_000000000009.jpg"),
        ("COCO_val2014_000000000009.jpg", "train2017/000000000009.jpg"),
        ("./data/coco/COCO_train2014_000000000009.jpg", "COCO_train2014_000000000009.jpg"),
        ("coco/train2017/000000000009.jpg", "coco/train2017/000000000009.jpg"),
    ],
)
def test_coco_names_find_each_other(tmp_path: Path, root: Path, png: bytes, named: str, on_disk: str) -> None:
    (root / on_disk).parent.mkdir(parents=True, exist_ok=True)
    (root / on_disk).write_bytes(png)
    [example] = read(tmp_path, [{"id": "9", "image": named, "conversations": LLAVA}], root)
    assert isinstance(example, Example), example


def test_a_root_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a folder or a \.zip file"):
        read(tmp_path, [{"messages": TURNS, "images": ["a.png"]}], tmp_path / "none")


def test_ids_are_unique(tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"id": "same", "messages": TURNS, "images": ["a.png"]}
    with caplog.at_level("INFO"):
        assert [example.id for example in read(tmp_path, [row, row], root)] == ["same", "same#1"]
    told = "1 row has an id that an earlier row has, the first row 1 (counted from 0) 'same'"
    assert caplog.text.count(f"{told}; it goes by 'same#1' from here on.") == 1
    caplog.clear()
    with caplog.at_level("INFO"):
        read(tmp_path, [row, {**row, "id": "other"}], root)
    assert "an id that" not in caplog.text


def test_rows_of_several_shapes_are_each_read_by_their_own(tmp_path: Path, root: Path) -> None:
    rows = [{"a": 1}, {"messages": TURNS, "images": ["a.png"]}, {"conversations": LLAVA, "image": "a.png"}]
    unknown, first, second = read(tmp_path, rows, root)
    assert isinstance(unknown, Skip)
    assert (unknown.reason, "no shape that mmpref reads" in unknown.detail) == ("malformed", True)
    assert isinstance(first, Example)
    assert isinstance(second, Example)


def test_an_unknown_shape_names_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\) has the columns a, b"):
        read(tmp_path, [{"a": 1, "b": 2}])


def test_a_cell_that_names_nothing_is_no_name(tmp_path: Path, root: Path) -> None:
    row = {"id": "x" * 300_000, "messages": TURNS, "images": ["a.png"], "source": "y" * 300_000}
    [example] = read(tmp_path, [row], root)
    assert isinstance(example, Example)
    assert example.id == "0"
    assert len(str(example.facts["source"])) < 300


def test_every_missing_image_of_a_row_is_told(tmp_path: Path, root: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"messages": TURNS, "images": ["x.png", "a.png", "y.png"]}]))
    [(_, [skip])] = Source(open_table(str(tmp_path / "rows.json")), [str(root)]).blocks(1, lambda _: True)
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.detail, skip.missing) == ("missing-image", "x.png", ("x.png", "y.png"))


def test_rows_of_tables_of_one_name_are_told_apart(tmp_path: Path, root: Path) -> None:
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "rows.json")
        files[-1].write_text(json.dumps([{"messages": TURNS, "images": ["a.png"]}] * 2))
    tables = [open_table(str(file)) for file in (*files, files[0])]
    [(_, block)] = Source(tables, [str(root)]).blocks(6, lambda _: True)
    made = [(row.id, row.source_id) for row in block if isinstance(row, Example)]
    assert made == [
        ("0", "rows.json/train/0"),
        ("1", "rows.json/train/1"),
        ("0#2", "rows.json#2/train/0"),
        ("1#3", "rows.json#2/train/1"),
        ("0#4", "rows.json/train/0"),
        ("1#5", "rows.json/train/1"),
    ], "the first table's rows are the same where it is named again"
