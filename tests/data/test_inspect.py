from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpref.data.inspect import Sample, inspect
from mmpref.errors import InputError
from mmpref.tables.open import open_table
from tests.test_image_metadata import photo


def _row(png: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"bytes": png, "path": None}],
        "prompt": [{"role": "user", "content": "What is it?"}],
        "chosen": [{"role": "assistant", "content": "A red square."}],
        "rejected": [{"role": "assistant", "content": "A blue square on a table."}],
        "similarity": 0.5,
        "method": "bdhs",
        **changes,
    }


def _report(tmp_path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return inspect(open_table(str(tmp_path / "train.parquet")))


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_a_clean_dataset_has_no_problem(tmp_path: Path, png: bytes) -> None:
    report = _report(tmp_path, [_row(png)])
    assert report["problems"] == {}
    assert report["words"]["chosen"]["mean"] == 3
    assert report["length_bias"]["mean"] == -3
    assert report["length_bias"]["chosen_longer"] == 0
    assert report["similarity"]["mean"] == 0.5
    assert report["images_per_row"] == {"1": 1}
    assert report["methods"] == {"bdhs": 1}


@pytest.mark.parametrize(
    ("changes", "kind", "column"),
    [
        ({"rejected": _said("A red square.")}, "equal-answers", "rejected"),
        ({"chosen": _said("  ")}, "empty", "chosen"),
        ({"chosen": None}, "empty", "chosen"),
        ({"images": []}, "no-image", "images"),
        ({"images": [{"bytes": b"broken", "path": None}]}, "bad-image", "images"),
        ({"rejected": None}, "empty", "rejected"),
    ],
)
def test_a_problem_has_its_row_and_column(
    tmp_path: Path, png: bytes, changes: dict[str, Any], kind: str, column: str
) -> None:
    problems = _report(tmp_path, [_row(png), _row(png, **changes)])["problems"]
    assert list(problems) == [kind]
    assert problems[kind]["count"] == 1
    [place] = problems[kind]["first"]
    assert (place["row"], place["column"]) == (1, column)


def test_a_row_that_says_the_opposite_of_an_earlier_one_is_noted(tmp_path: Path, png: bytes) -> None:
    row = _row(png)
    report = _report(tmp_path, [row, row, {**row, "chosen": row["rejected"], "rejected": row["chosen"]}])
    assert report["usable"] == 3
    assert report["notes"]["conflict"] == {
        "count": 1,
        "first": [{"row": 2, "column": "row", "detail": "opposite of row 0"}],
    }


def test_rows_that_are_trained_on_all_the_same_are_noted(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png)
    row = {**_row(png), "images": ["a.png"]}
    other = {
        "messages": [*row["prompt"], *row["chosen"]],
        "rejected_response": "A dog.",
        "image": "a.png",
    }
    rows = [row, row, other, {name: cell for name, cell in row.items() if name != "rejected"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples: list[Sample] = []
    report = inspect(open_table(str(tmp_path / "train.jsonl")), on_row=samples.append)
    assert report["usable"] == 3
    assert report["notes"]["duplicate"] == {
        "count": 1,
        "first": [{"row": 1, "images": ["a.png"], "column": "row", "detail": "same as row 0"}],
    }
    assert [sample.image_names for sample in samples] == [("a.png",)] * 4
    said = [(place["row"], place["detail"]) for place in report["notes"]["columns"]["first"]]
    assert said == [
        (2, "lacks chosen, images, method, prompt, rejected, similarity; has also image, messages, rejected_response"),
        (3, "lacks rejected"),
    ]
    assert list(report["problems"]) == ["missing"]
    assert [place["row"] for place in report["problems"]["missing"]["first"]] == [3]
    assert [(bool(sample.problems), bool(sample.notes)) for sample in samples] == [
        (False, False),
        (False, True),
        (False, True),
        (True, True),
    ]


def test_supervised_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\) lacks rejected; its columns are images, prompt"):
        inspect(open_table("testbed"))


def test_samples_carry_usable_images(tmp_path: Path, png: bytes) -> None:
    pq.write_table(pa.Table.from_pylist([_row(png)]), tmp_path / "train.parquet")
    rows: list[Sample] = []
    inspect(open_table(str(tmp_path)), on_row=rows.append)
    [sample] = rows
    assert sample.images[0].content == png


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("photos/a.png", ["photos/a.png"]),
        ({"bytes": b"none", "path": "b.png"}, ["b.png"]),
        ({"bytes": b"none", "path": None}, None),
        (f"data:image/png;base64,{'A' * 80}", None),
    ],
)
def test_rows_are_shown_with_the_names_of_their_images(tmp_path: Path, cell: Any, names: list[str] | None) -> None:
    [place] = _report(tmp_path, [_row(b"", images=[cell])])["problems"]["bad-image"]["first"]
    assert place.get("images") == names


def test_no_cell_makes_a_long_report(tmp_path: Path, png: bytes) -> None:
    long = "x" * 300_000
    report = _report(tmp_path, [_row(png, id=long, source=long, method=long, **{long: 1}), _row(png, source="nan")])
    assert len(json.dumps(report)) < 5000
    assert report["sources"] == {f"{'x' * 100}... (300,000 characters)": 1, "unknown": 1}


def test_images_that_say_where_they_were_taken_are_counted(tmp_path: Path, png: bytes) -> None:
    report = _report(tmp_path, [_row(png), _row(photo("JPEG")), _row(png)])
    assert report["images_with_position"] == 1
    assert [told for told in report["warnings"] if told.startswith("1 of 3 images say where they were taken (GPS)")]
    assert _report(tmp_path, [_row(png)])["images_with_position"] == 0
