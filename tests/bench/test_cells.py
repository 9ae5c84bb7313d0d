"""Cells of benchmark rows: authors' formats, folders of images, and cells that have no value."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mmpref import registry
from mmpref.bench.benchmark import BENCHMARKS, Benchmark, Sample
from mmpref.bench.cells import choice_cell, decoded_image, image_key, list_cell, optional_text, text_cell
from mmpref.bench.plan import load_plan
from mmpref.errors import ImageError, InputError
from mmpref.recipes.schema import build
from mmpref.tables.cells import NamedRow, is_empty
from mmpref.tables.open import open_table

from .benchmarks.conftest import run, values, write_parquet
from .conftest import png, pope_row, write_rows

NAN = math.nan


def official(number: int, label: Any = "yes") -> dict[str, Any]:
    """A line of POPE's ``coco_pope_random.json``."""
    return {
        "question_id": number,
        "image": f"COCO_val2014_{number // 2:012}.jpg",
        "label": label,
        "text": f"Is there a thing {number} in the image?",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    for number, colour in enumerate(("red", "blue")):
        (tmp_path / f"val2014/COCO_val2014_{number:012}.jpg").write_bytes(png(colour))
    return tmp_path / "val2014"


def samples(name: str, rows: list[dict[str, Any]], place: Path, **settings: Any) -> list[Sample]:
    entry: Benchmark = BENCHMARKS.get(name)
    task = entry.task(build(entry.settings, settings))
    return list(task.samples(open_table(str(write_rows(place / "rows.jsonl", rows)), "test"), None))


def test_pope_as_its_authors_publish_it(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "coco_pope_popular.json", [official(n, ("yes", "no")[n % 2]) for n in range(4)])
    found = values(run("pope", {"data": str(file), "images": str(folder), "split": "train"}, tmp_path / "run"))
    assert (found["accuracy", "all"]["n"], found["accuracy", "all"]["images"]) == (4, 2)
    assert found["accuracy", "popular"]["n"] == 4, "the file's name says the category"


def test_a_folder_of_popes_three_files(folder: Path, tmp_path: Path) -> None:
    for category in ("random", "popular", "adversarial"):
        write_rows(tmp_path / f"coco/coco_pope_{category}.json", [official(n) for n in range(2)])
    found = values(run("pope", {"data": str(tmp_path / "coco"), "images": str(folder)}, tmp_path / "run"))
    assert {part for _, part in found} == {"random", "popular", "adversarial", "all"}
    assert found["accuracy", "all"]["n"] == 6
    assert ("mean_f1", "all") in found
    write_rows(tmp_path / "coco/aokvqa_pope_random.json", [official(0)])
    with pytest.raises(InputError, match="several files of one category"):
        run("pope", {"data": str(tmp_path / "coco"), "images": str(folder)}, tmp_path / "other")


@pytest.mark.parametrize(
    ("label", "read"),
    [
        ("Yes.", "yes"),
        ("YES", "yes"),
        ("no ", "no"),
        ('"No"', "no"),
        (True, "yes"),
        (False, "no"),
        (1, "yes"),
        (0, "no"),
        ("1", "yes"),
        ("0", "no"),
        (1.0, "yes"),
        (0.0, "no"),
    ],
)
def test_labels_however_they_are_written(label: Any, read: str, folder: Path, tmp_path: Path) -> None:
    [sample] = samples("pope", [official(0, label)], tmp_path, images=str(folder))
    assert sample.reference["answer"] == read
    assert sample.image
    assert sample.image.content


@pytest.mark.parametrize("label", [NAN, None, "", " ", "maybe", ["yes"], 3, "yes or no"])
def test_a_label_that_is_none_is_refused_with_row_and_column(label: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 1 .counted from 0.(,| has no value in) column '?label"):
        samples("pope", [official(0), official(1, label)], tmp_path, images=str(folder))


@pytest.mark.parametrize(
    "path", ["C:\\coco\\val2014\\{}", "/data/coco/val2014/{}", "./val2014/{}", "val2014\\{}", "{}"]
)
def test_paths_of_authors_machines_are_found_in_the_folder(path: str, folder: Path, tmp_path: Path) -> None:
    row = {**official(0), "image": path.format("COCO_val2014_000000000000.jpg")}
    [sample] = samples("pope", [row], tmp_path, images=str(folder))
    assert sample.image
    assert decoded_image(sample.image).mode == "RGB"
    assert sample.image_id == "COCO_val2014_000000000000"


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("none.jpg", r"row 0 \(counted from 0\) \(no image file 'none.jpg' under .*\)\.$"),
        ("../secret.png", "leaves its root"),
        ("empty.jpg", r"row 0 .counted from 0. \(a file of 0 bytes\)\.$"),
        ("", r"row 0 .counted from 0. \(no image\)\.$"),
        (NAN, r"row 0 .counted from 0. \(no image\)\.$"),
        ("https://x.org/a.jpg", r"an address, which is not fetched"),
        ("x" * 9000, "."),
    ],
)
def test_an_image_that_is_not_there_says_one_thing(cell: Any, why: str, folder: Path, tmp_path: Path) -> None:
    (folder / "empty.jpg").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(png("blue"))
    [sample] = samples("pope", [{**official(0), "image": cell}], tmp_path, images=str(folder))
    assert sample.image
    with pytest.raises(ImageError, match=why) as raised:
        decoded_image(sample.image)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("form", ["base64", "data URI", "mapping"])
def test_an_image_inside_its_cell_is_read_as_every_command_reads_it(form: str, folder: Path, tmp_path: Path) -> None:
    coded = base64.b64encode(png("red")).decode()
    cells: dict[str, Any] = {
        "base64": coded,
        "data URI": f"data:image/png;base64,{coded}",
        "mapping": {"bytes": coded, "path": "elsewhere.png"},
    }
    [sample] = samples("pope", [{**official(0), "image": cells[form]}], tmp_path, images=str(folder))
    assert sample.image
    assert sample.image.content == png("red")
    assert sample.image_id == image_key(sample.image, 0)
    broken = {**official(0), "image": f"data:image/png;base64,{coded[:-9]}!"}
    [sample] = samples("pope", [broken], tmp_path, images=str(folder))
    assert sample.image
    with pytest.raises(ImageError, match=r"row 0 .counted from 0. \(\d+ characters that are no base64"):
        decoded_image(sample.image)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder of images .*none"):
        samples("pope", [official(0)], tmp_path, images=str(tmp_path / "none"))


SETS: dict[str, dict[str, Any]] = {
    "mme": {"question_id": "a/0.png", "category": "count", "answer": "Yes", "question": "Q?"},
    "mmstar": {"question": "Q?", "answer": "(A)", "category": "math"},
    "textvqa": {"question": "Q?", "answers": ["x"] * 10},
    "mmvet": {"question": "Q?", "answer": "x", "capability": "ocr"},
    "llava-wild": {"question": "Q?", "caption": "c", "gpt_answer": "x", "category": "conv"},
    "hallusionbench": {
        "category": "VD",
        "subcategory": "x",
        "visual_input": "1",
        "set_id": "0",
        "figure_id": "0",
        "question_id": "0",
        "question": "Q?",
        "gt_answer": "1",
    },
    "mmhal": {"question_type": "x", "question": "Q?", "gt_answer": "x", "image_content": ["x"]},
}
"""Columns that must have a value."""
NAMES = {"mmvet": "imagename", "hallusionbench": "filename"}


@pytest.mark.parametrize("name", SETS)
def test_authors_image_names_are_looked_for_in_a_folder(name: str, folder: Path, tmp_path: Path) -> None:
    row = {**SETS[name], NAMES.get(name, "image"): "./images/COCO_val2014_000000000001.jpg"}
    settings = {"non_image_split": None} if name == "hallusionbench" else {}
    [sample] = samples(name, [row], tmp_path, images=str(folder), **settings)
    assert sample.image
    assert decoded_image(sample.image)


@pytest.mark.parametrize("empty", [NAN, None, ""])
@pytest.mark.parametrize(("name", "column"), [(name, column) for name, row in SETS.items() for column in row])
def test_a_cell_without_a_value_is_refused_and_never_the_text_nan(
    name: str, column: str, empty: Any, folder: Path, tmp_path: Path
) -> None:
    image = {"image": "COCO_val2014_000000000001.jpg"}
    settings = {"non_image_split": None} if name == "hallusionbench" else {}
    with pytest.raises(InputError, match=rf"row 1 .counted from 0. has no value in column '{column}'"):
        samples(
            name, [SETS[name] | image, {**SETS[name], **image, column: empty}], tmp_path, images=str(folder), **settings
        )


def test_a_list_with_an_empty_entry_is_refused() -> None:
    for entry, what in ((NAN, "is empty"), (None, "is empty"), ("", "is empty"), (3, "is a int")):
        with pytest.raises(InputError, match=f"where, column a holds a list whose entry 1 {what}"):
            list_cell({"a": ["x", entry]}, "a", "where")
    assert list_cell({"a": []}, "a", "where") == []


def test_names_that_a_table_made_numbers_of_stay_names() -> None:
    """As Parquet has ids of a column that lacks one."""
    assert text_cell({"a": 3.0}, "a", "") == text_cell({"a": 3}, "a", "") == "3"
    assert text_cell({"a": 3.5}, "a", "") == "3.5"
    assert choice_cell({"a": 1.0}, "a", "", ("0", "1")) == "1"
    assert [optional_text({"a": value}, "a") for value in (NAN, None, "", "x", 2.0)] == [None, None, None, "x", "2"]
    assert not is_empty("nan"), "an answer may be nan"


def test_optional_names_that_are_nan_are_not_there(folder: Path, tmp_path: Path) -> None:
    row = pope_row(0, "COCO_val2014_000000000001.jpg")
    [sample] = samples("pope", [{**row, "category": NAN, "image_source": NAN}], tmp_path, images=str(folder))
    assert (sample.reference["part"], sample.image_id) == ("all", "COCO_val2014_000000000001")


def test_hallusionbench_in_one_file_is_read_once(folder: Path, tmp_path: Path) -> None:
    """A single file has its rows in whatever split is asked for."""
    image = {"filename": "COCO_val2014_000000000001.jpg"}
    rows = [SETS["hallusionbench"] | image, {**SETS["hallusionbench"], "visual_input": "0", "question_id": "1"}]
    file = write_rows(tmp_path / "HallusionBench.jsonl", rows)
    settings = {"data": str(file), "images": str(folder), "max_new_tokens": 4}
    plan = load_plan("hallusionbench", "hallusionbench", settings, None)
    assert [sample.image is None for sample in plan.samples] == [False, True]


def test_where_all_images_are_gone_questions_without_one_do_not_hide_it(folder: Path, tmp_path: Path) -> None:
    image = {"filename": "gone.jpg"}
    rows = [SETS["hallusionbench"] | image, {**SETS["hallusionbench"], "visual_input": "0", "question_id": "1"}]
    file = write_rows(tmp_path / "HallusionBench.jsonl", rows)
    with pytest.raises(InputError, match="No image of benchmark hallusionbench"):
        load_plan("hallusionbench", "hallusionbench", {"data": str(file), "images": str(folder)}, None)


def test_gqa_takes_a_folder_of_the_downloads_images(tmp_path: Path) -> None:
    (tmp_path / "gqa").mkdir()
    (tmp_path / "gqa/n1.jpg").write_bytes(png("red"))
    rows = [{"id": str(i), "imageId": f"n{i}", "question": "Is it?", "answer": "no"} for i in (1, 2)]
    first, second = samples("gqa", rows, tmp_path, images=str(tmp_path / "gqa"))
    assert first.image
    assert decoded_image(first.image)
    assert second.image
    with pytest.raises(ImageError, match=r"no image file 'n2\.jpg'"):
        decoded_image(second.image)


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_word_tables_are_read_whatever_wrote_them(mark: str, end: str, tmp_path: Path) -> None:
    from mmpref.bench.scoring.amber import Tables
    from mmpref.synonyms import Synonyms

    words = tmp_path / "synonyms.txt"
    words.write_bytes(f"person, girl{end}dog, puppy{end}".encode(mark))
    assert Synonyms.read(str(words)).objects("A girl and a puppy.") == ["person", "dog"]
    relation, safe = tmp_path / "relation.json", tmp_path / "safe.txt"
    relation.write_bytes(json.dumps({"lake": ["water"]}).encode(mark))
    safe.write_bytes(f"sky{end}sun{end}".encode(mark))
    tables = Tables.read(str(relation), str(safe))
    assert (tables.relation, tables.safe) == ({"lake": ["water"]}, {"sky", "sun"})


def test_the_folder_of_images_does_not_make_numbers_differ(folder: Path, tmp_path: Path) -> None:
    """It says where they are, not how they are asked about."""
    rows = [official(n) for n in range(2)]
    (tmp_path / "beside").mkdir()
    for file in folder.iterdir():
        (tmp_path / "beside" / file.name).write_bytes(file.read_bytes())
    data = write_rows(tmp_path / "beside/rows.jsonl", rows)
    settings = {"data": str(data)}
    one, two = (
        run("pope", settings, tmp_path / "one"),
        run("pope", {**settings, "images": str(folder)}, tmp_path / "two"),
    )
    assert one["results"] == two["results"]


def test_nan_in_parquet_is_no_text(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "test.parquet", [{**pope_row(0, None), "question": NAN}])
    with pytest.raises(InputError, match=r"row 0 .counted from 0. has no value in column 'question'"):
        run("pope", {"data": str(file)}, tmp_path / "run")


_PLUGIN = """
from mmpref.bench.benchmark import Benchmark, BenchmarkSettings, Sample
from mmpref.types import Message


class Task:
    max_new_tokens = 4

    def __init__(self, settings):
        pass

    def samples(self, table, limit):
        return [
            Sample(str(n), str(n), None, (Message("user", row["question"].strip()),), row["objects"])
            for n, row in enumerate(table)
        ]


BENCHMARK = Benchmark(BenchmarkSettings, (), Task)
"""


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "What?"}, "row 1 (counted from 0): it has no column 'objects'; its columns are question"),
        (
            {"question": 5, "objects": ["cup"]},
            "row 1 (counted from 0): AttributeError: 'int' object has no attribute 'strip'; "
            "its columns are question, objects",
        ),
    ],
)
def test_whatever_a_plugin_stumbles_over_is_told_with_its_row(
    row: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, info = tmp_path / "stumbling_plugin", tmp_path / "stumbling_plugin-1.dist-info"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text(f'"""Mine."""\n{_PLUGIN}')
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stumbling-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mmpref.benchmarks]\nmine = stumbling_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_modules", registry._modules.__wrapped__)
    file = write_rows(tmp_path / "rows.jsonl", [{"question": "What?", "objects": ["cup"]}, row])
    with pytest.raises(InputError) as raised:
        load_plan("mine", "mine", {"data": str(file)}, None)
    assert str(raised.value) == f"The benchmark mine cannot read {file} (test), {says}."


def test_columns_are_named_as_their_owner_wrote_them() -> None:
    row = NamedRow({"answer": "ja", "question": ""}, {"answer": "Antwort"}, {"Antwort": "ja", "question": ""})
    with pytest.raises(InputError, match="row 0, column Antwort is 'ja', none of yes, no"):
        choice_cell(row, "answer", "row 0", ("yes", "no"))
    with pytest.raises(InputError, match=r"no value in column 'question'; its columns are Antwort .called answer."):
        text_cell(row, "question", "row 0")
