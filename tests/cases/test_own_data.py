"""One's own data, as people have them: a folder of photos and a table beside it. Each works at the first try, or says
at once what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mmpref
from mmpref.data.sources import Source
from mmpref.tables.messages import DEFAULT_PROMPT
from mmpref.tables.open import open_table
from tests.cases.own_data import CAPTIONS, NAMES, QUESTIONS, build, coco, photo, read, write_csv

from .commands import MODEL, SMALL, done, refused


@pytest.mark.parametrize("place", ["file", "folder"])
@pytest.mark.parametrize("name", ["image", "file_name", "filename", "photo", "image_path"])
def test_a_csv_of_captions_beside_its_photos(name: str, place: str, photos: Path) -> None:
    table = write_csv(photos / "captions.csv", {name: NAMES, "caption": CAPTIONS})
    rows = read(table if place == "file" else photos)
    assert [row.answer for row in rows] == list(CAPTIONS)
    assert [row.images[0].content for row in rows] == [photo(number) for number in range(4)]
    assert {row.prompt[0].content for row in rows} == {DEFAULT_PROMPT}


def test_a_csv_elsewhere_needs_only_the_folder(photos: Path, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "qa.csv", {"image": NAMES, "question": QUESTIONS, "answer": CAPTIONS})
    said = refused("build-dataset", "--method", "mismatched", "--source", table, "--output", tmp_path / "run")
    assert said == (
        f"None of the 4 images of {table} (train) is found under {tmp_path}. First: row 0 (counted from 0): "
        "'IMG_0.jpg'. Name the folder that paths are relative to with --image-root."
    )
    found = build("--source", table, "--image-root", photos, "--output", tmp_path / "run")
    assert found["counts"] == {"rows": 4, "skipped": {}}


def test_some_photos_that_are_missing_are_told_before_the_work(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / NAMES[2]).unlink()
    table = write_csv(photos / "captions.csv", {"image": NAMES, "caption": CAPTIONS})
    Source(open_table(str(table)))
    assert (
        f"of 4 images of {table} (train), 1 is not found under {photos}; rows without theirs are skipped" in caplog.text
    )
    assert "First: row 2 (counted from 0): 'IMG_2.jpg'" in caplog.text


def test_llava_json(photos: Path) -> None:
    rows = [
        {
            "id": f"row-{number}",
            "image": f"coco/train2017/{name}",
            "conversations": [
                {"from": "human", "value": f"<image>\n{QUESTIONS[number]}"},
                {"from": "gpt", "value": CAPTIONS[number]},
            ],
        }
        for number, name in enumerate(NAMES)
    ]
    (photos / "llava.json").write_text(json.dumps(rows))
    assert [(row.prompt[0].content, row.answer) for row in read(photos / "llava.json")] == list(
        zip(QUESTIONS, CAPTIONS, strict=True)
    )


@pytest.mark.parametrize("indent", [None, 2])
def test_a_coco_file_of_captions(indent: int | None, photos: Path) -> None:
    annotations = [{"image_id": 10 + number, "id": number, "caption": CAPTIONS[number]} for number in (3, 1, 1)]
    annotations[-1] = {**annotations[-1], "id": 7, "caption": "Cats."}
    file = photos / "captions_val2017.json"
    file.write_text(json.dumps(coco(annotations=annotations), indent=indent))
    rows = read(file)
    assert [(row.id, row.answer) for row in rows] == [("3", "A boat."), ("1", CAPTIONS[1]), ("7", "Cats.")]
    assert [row.images[0].content for row in rows] == [photo(3), photo(1), photo(1)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (coco(annotations=[{"image_id": 99, "caption": "?"}]), "annotation 0 is of the image '99'"),
        (coco(annotations=[{"image_id": 10, "keypoints": []}]), "without captions and without objects"),
        ({"version": 1, "data": [1], "rows": []}, "Its lists are data, rows: save one of them as the file."),
    ],
)
def test_other_json_objects_say_what_to_do(content: dict[str, Any], said: str, photos: Path) -> None:
    file = photos / "whole.json"
    file.write_text(json.dumps(content, indent=1))
    with pytest.raises(mmpref.errors.InputError, match=said):
        list(open_table(str(file)))


@pytest.mark.parametrize("caption", ["caption", "text"])
def test_an_image_folder_with_metadata(caption: str, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set/train"
    folder.parent.mkdir()
    photos.rename(folder)
    write_csv(folder / "metadata.csv", {"file_name": NAMES, caption: CAPTIONS})
    assert [row.answer for row in read(folder.parent)] == list(CAPTIONS)
    assert [row.answer for row in read(folder)] == list(CAPTIONS)


def test_parquet_with_image_structs(photos: Path) -> None:
    rows = [
        {"image": {"bytes": photo(number), "path": None}, "question": QUESTIONS[number], "answer": CAPTIONS[number]}
        for number in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), photos / "rows.parquet")
    assert [row.images[0].content for row in read(photos / "rows.parquet")] == [photo(number) for number in range(4)]


def test_several_captions_of_an_image(photos: Path) -> None:
    lines = [{"image": name, "captions": [CAPTIONS[number], "Something."]} for number, name in enumerate(NAMES)]
    (photos / "flickr.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read(photos / "flickr.jsonl")
    assert [row.answer for row in rows] == list(CAPTIONS)
    assert {row.notes for row in rows} == {("first_of_captions", "prompt_given")}


def test_addresses_say_that_nothing_is_fetched(tmp_path: Path) -> None:
    lines = [{"image": f"https://example.org/{name}", "caption": "A dog."} for name in NAMES]
    (tmp_path / "urls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = refused(
        "build-dataset", "--method", "mismatched", "--source", tmp_path / "urls.jsonl", "--output", tmp_path / "run"
    )
    assert "'https://example.org/IMG_0.jpg' is on another machine" in said
    assert "Download them, and name their folder with --image-root" in said


def test_training_on_ones_own_pairs(photos: Path, tmp_path: Path) -> None:
    pairs = {"photo": NAMES, "q": QUESTIONS, "good": CAPTIONS, "bad": CAPTIONS[::-1]}
    table = write_csv(tmp_path / "pairs.csv", pairs)
    named = ("--columns", "prompt=q,chosen=good,rejected=bad")
    train = ("train", "--model", MODEL, "--dataset", table, *named, *SMALL, "--output", tmp_path / "run")
    assert "None of the 4 images" in refused(*train)
    one_answer = ("train", "--model", MODEL, "--dataset", table, "--columns", "prompt=q,chosen=good")
    assert "lacks rejected; " in refused(*one_answer)
    assert done(*train, "--image-root", photos)["counts"] == {"rows": 4, "skipped": {}}
