"""Benchmarks of one's own: photos and a table of questions or objects."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mmpref
from mmpref.tables.open import open_table
from tests.cases.own_data import CAPTIONS, NAMES, QUESTIONS, coco, photo, write_csv

from .commands import MODEL, done, refused, value


def test_a_coco_file_of_objects_is_a_benchmark(photos: Path, tmp_path: Path) -> None:
    boxes = [{"image_id": 10, "category_id": 1}, {"image_id": 10, "category_id": 1}, {"image_id": 12, "category_id": 2}]
    kinds = [{"id": 1, "name": "dog"}, {"id": 2, "name": "traffic light"}]
    file = photos / "instances.json"
    file.write_text(json.dumps(coco(annotations=boxes, categories=kinds)))
    rows = list(open_table(str(file)))
    assert [row["objects"] for row in rows] == [["dog"], [], ["traffic light"], []]


def ask(benchmark: str, data: Path, output: Path, *options: object) -> tuple[object, ...]:
    settings = ("--set", f"benchmark.{benchmark}.data={data}", "--set", f"benchmark.{benchmark}.max_new_tokens=4")
    return (
        "evaluate",
        "--recipe",
        "plain",
        "--model",
        MODEL,
        "--benchmark",
        benchmark,
        *settings,
        "--output",
        output,
        *options,
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_yes_no_benchmark_of_ones_own(form: str, photos: Path, tmp_path: Path) -> None:
    rows = {"image": NAMES, "question": QUESTIONS, "answer": ("yes", "No", "yes.", "no")}
    data = tmp_path / f"mine.{form}"
    if form == "csv":
        write_csv(data, rows)
    else:
        lines = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = tmp_path / "run"
    said = refused(*ask("pope", data, run))
    assert said.startswith(
        f"No image of benchmark pope ({data}, split test) can be read: {data} (test), row 0 (counted from 0) (no image"
    )
    assert "Name the folder of the images: --set benchmark.pope.images=FOLDER; of an evaluation's" in said
    assert "all together, --image-root." in said
    found = done(*ask("pope", data, run, "--image-root", photos))
    assert value(found, "accuracy")["n"] == 4
    assert found["missing"] == {"pope": {"base": 0}}


def test_missing_pictures_of_a_benchmark_are_told_first(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mmpref.bench.plan import load_plan

    (photos / NAMES[1]).unlink()
    data = write_csv(photos / "mine.csv", {"image": NAMES, "question": QUESTIONS, "answer": ("yes", "no") * 2})
    load_plan("pope", "pope", {"data": str(data)}, None)
    assert "the images of 1 of 4 questions of pope cannot be read" in caplog.text
    assert "row 1 (counted from 0) (no image file 'IMG_1.jpg'" in caplog.text


def test_columns_of_a_benchmark(photos: Path, tmp_path: Path) -> None:
    data = write_csv(photos / "mine.csv", {"bild": NAMES, "frage": QUESTIONS, "antwort": ("yes", "no") * 2})
    run = tmp_path / "run"
    assert "its columns are bild, frage, antwort" in refused(*ask("pope", data, run))
    found = done(*ask("pope", data, run, "--columns", "prompt=frage,answer=antwort,image=bild"))
    assert value(found, "accuracy")["n"] == 4
    said = refused(
        "evaluate", "--benchmark", "pope", "--columns", "answer=label", "--recipe", "plain", "--model", MODEL
    )
    assert "none is on such data" in said


@pytest.mark.parametrize("objects", [["dog", "traffic light"], "dog, traffic light", '["dog", "traffic light"]'])
def test_image_and_objects_suffice_for_chair(objects: Any, photos: Path, tmp_path: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "objects.jsonl"
    lines = [{"image": NAMES[0], "objects": objects}, {"image": NAMES[1], "objects": ["cats"]}]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = load_plan("chair", "chair", {"data": str(data)}, None)
    assert [sample.image_id for sample in plan.samples] == ["IMG_0", "IMG_1"]
    score = plan.task.score(plan.samples[0], "Two dogs and a cat wait at the traffic lights.")
    assert score.parsed == "dog, cats, traffic light"
    counts = {name: score.counts[name] for name in ("mentions", "hallucinated", "found", "objects")}
    assert counts == {"mentions": 3, "hallucinated": 1, "found": 2, "objects": 2}


def test_names_that_chair_cannot_find_are_refused(photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "objects.jsonl"
    data.write_text(json.dumps({"image": NAMES[0], "objects": ["stove top oven"]}) + "\n")
    with pytest.raises(mmpref.errors.InputError, match="'stove top oven', and CHAIR finds names of one word or two"):
        load_plan("chair", "chair", {"data": str(data)}, None)
    data.write_text(json.dumps({"image": NAMES[0], "objects": [" dog ", "traffic  light"]}) + "\n")
    plan = load_plan("chair", "chair", {"data": str(data)}, None)
    assert plan.task.score(plan.samples[0], "A dog at a traffic light.").counts["found"] == 2


@pytest.mark.parametrize(("rows", "caption"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_chair_finds_composed_names_in_decomposed_captions(rows: Any, caption: Any, photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "objects.jsonl"
    names = [unicodedata.normalize(rows, name) for name in ("cốc", "ghế")]
    data.write_text(json.dumps({"image": NAMES[0], "objects": names}) + "\n")
    plan = load_plan("chair", "chair", {"data": str(data)}, None)
    score = plan.task.score(plan.samples[0], unicodedata.normalize(caption, "Có một Cốc và một ghế."))
    assert (score.counts["found"], score.counts["objects"]) == (2, 2)


def test_cocos_own_rows_need_the_authors_table(photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "coco.jsonl"
    data.write_text(json.dumps({"image": NAMES[0], "gt_object": ["dog"]}) + "\n")
    with pytest.raises(mmpref.errors.UsageError, match="needs a table of synonyms"):
        load_plan("chair", "chair", {"data": str(data)}, None)


def test_questions_about_one_embedded_picture_are_resampled_together(tmp_path: Path) -> None:
    from mmpref.bench.plan import load_plan

    cell = {"bytes": photo(0), "path": None}
    rows = [{"image": cell, "question": question, "answer": "yes"} for question in QUESTIONS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    plan = load_plan("pope", "pope", {"data": str(tmp_path / "test.parquet")}, None)
    assert len({sample.image_id for sample in plan.samples}) == 1


def test_pictures_of_one_name_in_two_folders_are_two(photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    for number, folder in enumerate(("dogs", "cats")):
        (photos / folder).mkdir()
        (photos / folder / "1.jpg").write_bytes(photo(number))
    data = write_csv(
        photos / "mine.csv",
        {"image": ["dogs/1.jpg", "cats/1.jpg", "dogs/1.jpg"], "question": QUESTIONS[:3], "answer": ["yes"] * 3},
    )
    one, two, three = (sample.image_id for sample in load_plan("pope", "pope", {"data": str(data)}, None).samples)
    assert one == three != two


@pytest.mark.parametrize(
    ("suffix", "asked"),
    [
        ("Answer yes or no.", "Is there a dog?\nAnswer yes or no."),
        (" Answer yes or no.", "Is there a dog? Answer yes or no."),
        ("\nAnswer yes or no.", "Is there a dog?\nAnswer yes or no."),
        ("", "Is there a dog?"),
    ],
)
@pytest.mark.parametrize("benchmark", ["pope", "gqa"])
def test_a_suffix_stands_apart_from_the_question(benchmark: str, suffix: str, asked: str, photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = write_csv(photos / "mine.csv", {"image": NAMES[:1], "question": ["Is there a dog?"], "answer": ["yes"]})
    plan = load_plan(benchmark, benchmark, {"data": str(data), "suffix": suffix}, None)
    assert plan.samples[0].messages[0].content == asked


def test_cocos_captions_in_the_place_of_its_objects(photos: Path, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": NAMES[0]}],
        "annotations": [{"id": 7, "image_id": 1, "caption": CAPTIONS[0]}],
    }
    file = photos / "captions_val2014.json"
    file.write_text(json.dumps(content))
    words = ["--benchmark", "chair", "--set", f"benchmark.chair.data={file}", "--output", tmp_path / "run"]
    said = refused("evaluate", "--model", MODEL, *words)
    assert "holds a caption, and this benchmark needs the names of the objects" in said
    assert "instances_....json" in said
    assert "COLUMN" not in said


def test_all_missing_columns_of_a_benchmark_are_told_at_once(tmp_path: Path) -> None:
    labels = write_csv(tmp_path / "labels.csv", {"file": NAMES, "things": ("dog",) * 4})
    questions = write_csv(tmp_path / "questions.csv", {"file": NAMES, "frage": QUESTIONS, "Answer": ("yes",) * 4})
    said = refused(*ask("chair", labels, tmp_path / "run"))
    assert "row 0 (counted from 0) has no columns 'image', 'objects'; its columns are file, things." in said
    assert said.endswith("If they have other names there, say so: --columns image=COLUMN,objects=COLUMN")
    for benchmark in ("pope", "gqa"):
        said = refused(*ask(benchmark, questions, tmp_path / "run"))
        assert said.endswith("--columns image=COLUMN,question=COLUMN,answer=Answer")


def test_columns_of_one_benchmark_beside_another(photos: Path, tmp_path: Path) -> None:
    labels = write_csv(photos / "labels.csv", {"image": NAMES, "things": ("dog",) * 4})
    questions = write_csv(photos / "questions.csv", {"image": NAMES, "question": QUESTIONS, "expected": ("yes",) * 4})
    both = (*ask("chair", labels, tmp_path / "run"), "--benchmark", "pope")
    both += ("--set", f"benchmark.pope.data={questions}", "--set", "benchmark.pope.max_new_tokens=4")
    both += ("--columns", "objects=things,answer=expected")
    said = refused(*both)
    chairs = "benchmark.chair.columns={objects: things}"
    assert "has no column 'expected', which --columns answer=expected names" in said
    assert said.endswith("for chair alone, in its place: --set benchmark.chair.columns='{objects: things}'")
    said = refused(*both, "--set", chairs)
    popes = "benchmark.pope.columns={answer: expected}"
    assert said.endswith("for pope alone, in its place: --set benchmark.pope.columns='{answer: expected}'")
    found = done(*both, "--set", chairs, "--set", popes)
    assert {row["benchmark"] for row in found["results"]} == {"chair", "pope"}
