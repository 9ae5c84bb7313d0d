"""Meta files that name files of rows: read line by line, inside their folder alone."""

from __future__ import annotations

import json
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import InputError
from mmpref.tables.open import open_table

ROW = {"image": "a.png", "question": "Why?", "chosen": "So.", "rejected": "No."}


def index(folder: Path, annotations: dict[str, str], indent: int | None = 4) -> Path:
    folder.mkdir(exist_ok=True)
    meta = {name: {"root": f"X/images/{name}", "annotation": path, "length": 1} for name, path in annotations.items()}
    (folder / "meta.json").write_text(json.dumps(meta, indent=indent))
    return folder / "meta.json"


def lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("indent", [4, None])
def test_rows_of_all_files_with_their_roots(tmp_path: Path, indent: int | None) -> None:
    file = index(tmp_path / "X", {"one": "X/annotations/one.jsonl", "two": "X/annotations/two.jsonl"}, indent)
    lines(tmp_path / "X/annotations/one.jsonl", [ROW, {**ROW, "image": ["a.png", "b.png"]}])
    lines(tmp_path / "X/annotations/two.jsonl", [{**ROW, "source": "own"}, {"question": "Why?"}])
    rows = list(open_table(str(file)))
    assert [row.get("image") for row in rows] == [
        "images/one/a.png",
        ["images/one/a.png", "images/one/b.png"],
        "images/two/a.png",
        None,
    ]
    assert [row["source"] for row in rows] == ["one", "one", "own", "two"]


def test_a_file_is_opened_when_its_turn_comes(tmp_path: Path) -> None:
    file = index(tmp_path / "X", {"one": "X/annotations/one.jsonl", "two": "X/annotations/two.jsonl"})
    lines(tmp_path / "X/annotations/one.jsonl", [ROW] * 3)
    (tmp_path / "X/annotations/two.jsonl").write_text("{broken\n")
    table = open_table(str(file))
    assert len(list(islice(table, 3))) == 3
    with pytest.raises(InputError, match=r"two\.jsonl, line 1 is not JSON"):
        list(table)


def test_what_it_names_is_part_of_the_content(tmp_path: Path) -> None:
    file = index(tmp_path / "X", {"one": "X/annotations/one.jsonl"})
    lines(tmp_path / "X/annotations/one.jsonl", [ROW])
    before = open_table(str(file)).fingerprint
    lines(tmp_path / "X/annotations/one.jsonl", [{**ROW, "chosen": "Because."}])
    assert open_table(str(file)).fingerprint != before


def test_members_of_an_archive(tmp_path: Path) -> None:
    file = index(tmp_path / "X", {"one": "X/annotations/one.jsonl"})
    with zipfile.ZipFile(tmp_path / "X/annotations.zip", "w") as archive:
        archive.writestr("X/annotations/one.jsonl", json.dumps(ROW) + "\n")
    [row] = open_table(str(file))
    assert row["image"] == "images/one/a.png"
    (tmp_path / "X/annotations.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"annotations\.zip cannot be read"):
        open_table(str(file))


def packed(folder: Path, content: bytes, damaged: bool = False) -> Path:
    """An index of one file in an archive."""
    file, archive = index(folder, {"one": "X/annotations/one.jsonl"}), folder / "annotations.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("annotations/one.jsonl", content)
    if damaged:
        archive.write_bytes(archive.read_bytes().replace(b"Why?", b"Who?"))
    return file


def test_a_damaged_member_and_one_that_is_no_text_are_told(tmp_path: Path) -> None:
    row = json.dumps(ROW).encode() + b"\n"
    for name, content, damaged in (("sum", row, True), ("text", row.replace(b"So", b"\xff"), False)):
        with pytest.raises(InputError, match=r"annotations\.zip/annotations/one\.jsonl cannot be read"):
            list(open_table(str(packed(tmp_path / name, content, damaged))))
    assert [row["question"] for row in open_table(str(packed(tmp_path / "mark", b"\xef\xbb\xbf" + row)))] == ["Why?"]


def test_json_that_is_too_deep_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="is not JSON"):
        list(open_table(str(tmp_path / "rows.json")))


@pytest.mark.parametrize("path", ["X/annotations/none.jsonl", "X/../../secret.jsonl", "{here}/secret.jsonl"])
def test_only_files_of_its_folder(tmp_path: Path, path: str) -> None:
    lines(tmp_path / "secret.jsonl", [ROW])
    file = index(tmp_path / "X", {"one": path.format(here=tmp_path)})
    with pytest.raises(InputError, match=r"is not there|leaves the folder"):
        list(open_table(str(file)))


def test_an_object_of_rows_by_image(tmp_path: Path) -> None:
    content = {
        "2417997": [{"question": "Why?", "y_win": "a"}, {"question": "Why?", "y_win": "b"}],
        "2": [{"y_win": "c"}],
    }
    for indent in (None, 4):
        (tmp_path / "rows.json").write_text(json.dumps(content, indent=indent))
        rows = list(open_table(str(tmp_path / "rows.json")))
        assert [(row["image_id"], row["y_win"]) for row in rows] == [("2417997", "a"), ("2417997", "b"), ("2", "c")]
