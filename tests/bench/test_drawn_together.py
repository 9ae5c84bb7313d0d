"""All that was asked about one image is drawn together, however its rows call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.benchmark import CountKey, Sample
from mmpref.bench.drawn_together import drawn_together, remarks_on_ids
from mmpref.bench.plan import load_plan
from mmpref.types import ImageData

from .benchmarks.conftest import write_parquet
from .conftest import png, write_rows

COLOURS = ("red", "green", "blue")
ROWS: dict[str, dict[str, Any]] = {
    "mmstar": {"answer": "A", "category": "c"},
    "mmvet": {"answer": "a", "capability": "ocr"},
    "mmhal": {"question_type": "x", "gt_answer": "a", "image_content": ["a"]},
    "llava-wild": {"category": "x", "gpt_answer": "a", "caption": "a"},
    "amber": {"type": "relation", "truth": "yes"},
    "chair": {"objects": ["cup"]},
    "pope": {"answer": "yes"},
}
"""What a row of each benchmark has beside its image and its question."""


def _rows(benchmark: str, image: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Two questions about each of three images; no row names its image but by the cell."""
    rows = [
        {**ROWS[benchmark], "image": image(colour), "question": f"{colour} {number}?"}
        for colour in COLOURS
        for number in range(2)
    ]
    for number, row in enumerate(rows):
        if benchmark == "chair":
            row["question_id"] = str(number)
        if benchmark == "amber":
            row |= {"id": number, "query": row.pop("question")}
    return rows


def _ids(benchmark: str, data: Path, **settings: str) -> list[tuple[str, str]]:
    if benchmark == "amber":
        (data.parent / "relation.json").write_text(json.dumps({"cup": ["mug"]}))
        settings["relation"] = str(data.parent / "relation.json")
    return [
        (one.id, one.image_id) for one in load_plan(benchmark, benchmark, {"data": str(data), **settings}, None).samples
    ]


@pytest.mark.parametrize("benchmark", ROWS)
def test_questions_about_one_file_are_drawn_together(benchmark: str, tmp_path: Path) -> None:
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(png(colour))
    data = write_rows(tmp_path / "rows.jsonl", _rows(benchmark, lambda colour: f"{colour}.png"))
    ids = _ids(benchmark, data, images=str(tmp_path))
    assert [name for name, _ in ids] == [str(number) for number in range(6)]
    assert [image for _, image in ids][::2] == [image for _, image in ids][1::2]
    assert len({image for _, image in ids}) == 3


@pytest.mark.parametrize("benchmark", ROWS)
def test_questions_about_one_embedded_image_are_drawn_together(benchmark: str, tmp_path: Path) -> None:
    rows = _rows(benchmark, lambda colour: {"bytes": png(colour), "path": None})
    ids = _ids(benchmark, write_parquet(tmp_path / "rows.parquet", rows))
    assert [image for _, image in ids][::2] == [image for _, image in ids][1::2]
    assert len({image for _, image in ids}) == 3


def _sample(number: int, image_id: str, *images: str, groups: dict[CountKey, str] | None = None) -> Sample:
    first, *further = (ImageData(content.encode(), "here") for content in images) if images else (None,)
    return Sample(str(number), image_id, first, (), None, groups or {}, tuple(further))


def _joined(*samples: Sample) -> list[str]:
    return [sample.image_id for sample in drawn_together(samples)]


@pytest.mark.parametrize(("benchmark", "column"), [("pope", "image_source"), ("chair", "question_id")])
def test_an_id_of_different_pictures_is_told(
    benchmark: str, column: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be what the images were taken from; drawn as one image they show no difference between two models."""
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(png(colour))
    rows = [{**row, column: "coco"} for row in _rows(benchmark, lambda colour: f"{colour}.png")]
    data = write_rows(tmp_path / "rows.jsonl", [*rows, {**rows[0], column: "mine"}])
    plan = load_plan(benchmark, benchmark, {"data": str(data)}, None)
    [remark] = [remark for remark in plan.remarks if "different pictures" in remark]
    assert remark in caplog.text
    assert remark.startswith(
        f"{benchmark}: 1 id of an image stands for 3 different pictures (first: 'coco', of rows 0 and 2). "
    )
    apart = [{**row, column: row["image"]} for row in rows]
    data = write_rows(tmp_path / "apart.jsonl", apart)
    told = load_plan(benchmark, benchmark, {"data": str(data)}, None).remarks
    assert not any("different pictures" in remark for remark in told)


def test_ids_of_groups_and_of_what_is_not_seen_are_not_told() -> None:
    grouped = [_sample(number, "0", str(number), groups={CountKey("all", "pair"): "0"}) for number in range(2)]
    unseen = [_sample(2, "1", "a"), _sample(3, "1", ""), _sample(4, "1")]
    assert remarks_on_ids("pope", [*grouped, *unseen]) == ()
    two = [*unseen, _sample(5, "1", "b"), _sample(6, "2", "c"), _sample(7, "2", "d"), _sample(8, "2", "a", "d")]
    [remark] = remarks_on_ids("pope", two)
    assert remark.startswith("pope: 2 ids of an image stand for 5 different pictures (first: '1', of rows 2 and 5)")


def test_an_image_that_stands_once_keeps_its_id() -> None:
    assert _joined(_sample(0, "0", "a"), _sample(1, "1", "b"), _sample(2, "2", "c")) == ["0", "1", "2"]


def test_what_shares_an_id_or_an_image_is_drawn_together() -> None:
    samples = [
        _sample(0, "x", "a"),
        _sample(1, "y", "b"),
        _sample(2, "z", "c"),
        _sample(3, "z", "b"),
        _sample(4, "y", "a"),
    ]
    assert _joined(*samples) == ["x"] * 5


def test_questions_about_several_images_are_about_all_of_them() -> None:
    assert _joined(_sample(0, "0", "a", "b"), _sample(1, "1", "a"), _sample(2, "2", "a", "b")) == ["0", "1", "0"]


def test_what_is_not_seen_is_not_the_same() -> None:
    assert _joined(_sample(0, "0"), _sample(1, "1"), _sample(2, "2", ""), _sample(3, "3", "")) == ["0", "1", "2", "3"]


def test_groups_are_drawn_as_their_benchmark_says() -> None:
    pair = CountKey("all", "pair")
    samples = [_sample(number, str(number // 2), "a", groups={pair: str(number // 2)}) for number in range(4)]
    assert _joined(*samples) == ["0", "0", "1", "1"]
