"""The first rows of a benchmark: what counts together is asked about as a whole, and whether rows were left is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.official import asked_of
from mmpref.bench.plan import Plan, load_plan

from .benchmarks.conftest import write_parquet
from .conftest import png, pope_row, write_rows

IMAGES = 4


@pytest.fixture
def images(tmp_path: Path) -> str:
    for number in range(IMAGES):
        (tmp_path / f"{number}.png").write_bytes(png(f"rgb({number},0,0)"))
    return str(tmp_path)


def _plan(benchmark: str, rows: list[dict[str, Any]], folder: str, limit: int | None, **settings: Any) -> Plan:
    file = write_rows(Path(folder) / "rows.jsonl", rows)
    return load_plan(benchmark, benchmark, {"data": str(file), "images": folder, **settings}, limit)


def _told(plan: Plan, limit: int | None) -> Any:
    return (asked_of(plan, "sha256:s", limit).changed or {}).get("limit")


def _mme(number: int, answer: str) -> dict[str, Any]:
    name = f"{number}.png"
    question = f"Is it {answer}? Please answer yes or no."
    return {"question_id": name, "image": name, "category": "count", "answer": answer, "question": question}


@pytest.mark.parametrize(("limit", "asked"), [(1, 2), (2, 2), (3, 4), (7, 8), (8, 8), (9, 8), (None, 8)])
@pytest.mark.parametrize("apart", [False, True])
def test_both_questions_of_an_image_of_mme_are_asked(images: str, limit: int | None, asked: int, apart: bool) -> None:
    """Wherever the second one stands."""
    rows = [_mme(number, answer) for number in range(IMAGES) for answer in ("Yes", "No")]
    if apart:
        rows = [*rows[::2], *rows[1::2]]
        asked = 8 if limit is None else 2 * min(limit, 4)
    plan = _plan("mme", rows, images, limit)
    names = [sample.image_id for sample in plan.samples]
    assert len(names) == asked == 2 * len(set(names))


def _figure(number: int, figure: str, question: str) -> dict[str, Any]:
    return {
        "category": "VS",
        "subcategory": "chart",
        "set_id": str(number),
        "figure_id": figure,
        "question_id": question,
        "question": f"Is {question} in {figure}?",
        "gt_answer": "1",
        "visual_input": "0" if figure == "0" else "1",
        "filename": f"{number}.png",
    }


def test_figures_of_hallusionbench_are_asked_about_with_their_set(images: str) -> None:
    folder = Path(images) / "rows"
    seen = [_figure(number, figure, question) for number in range(3) for figure in "12" for question in "01"]
    unseen = [_figure(number, "0", question) for number in range(3) for question in "01"]
    write_parquet(folder / "image-00000-of-00001.parquet", seen)
    write_parquet(folder / "non_image-00000-of-00001.parquet", unseen)
    for limit, sets in ((1, 1), (4, 1), (5, 2), (12, 3), (None, 3)):
        plan = load_plan("hallusionbench", "h", {"data": str(folder), "images": images}, limit)
        names = [sample.image_id for sample in plan.samples]
        assert {names.count(name) for name in names} == {6}, "four with a figure, and two without"
        assert len(set(names)) == sets
        assert _told(plan, limit) == (limit if sets < 3 else None)


def test_a_limit_below_the_rows_is_told_of_labels_that_skip_some(images: str) -> None:
    """RePOPE leaves out the rows that nobody is sure of."""
    rows = [pope_row(number, f"{number % IMAGES}.png") for number in range(20)]
    labels = [
        {"category": "random", "image": row["image_source"], "text": row["question"], "label": "yes"}
        for row in rows
        if int(row["id"]) % 5
    ]
    file = str(write_rows(Path(images) / "labels.jsonl", labels))
    for limit, asked, told in ((10, 8, 10), (19, 15, 19), (20, 16, None), (50, 16, None), (None, 16, None)):
        plan = _plan("repope", rows, images, limit, annotations=file)
        assert (len(plan.samples), _told(plan, limit)) == (asked, told)


def test_a_limit_above_the_rows_is_none_of_rows_with_several_questions(images: str) -> None:
    row = {"Image_0": "0.png", "Image_1": "1.png", "Question_0": "Is it?", "Question_1": "Is it not?"}
    rows = [{**row, "Question_Type": "yes_no"} for _ in range(5)]
    for limit, asked, told in ((3, 12, 3), (5, 20, None), (12, 20, None)):
        plan = _plan("naturalbench", rows, images, limit)
        assert (len(plan.samples), _told(plan, limit)) == (asked, told)


def test_a_row_behind_the_limit_may_be_broken(images: str) -> None:
    file = Path(images) / "rows.jsonl"
    file.write_text(json.dumps(pope_row(0, "0.png")) + "\n" + "{broken\n")
    plan = load_plan("pope", "pope", {"data": str(file), "images": images}, 1)
    assert (len(plan.samples), _told(plan, 1)) == (1, 1)


def test_a_table_that_is_read_twice_is_cut_all_the_same(images: str) -> None:
    """CHAIR without synonyms looks for what all rows name."""
    rows = [{"image": f"{number}.png", "objects": ["cup"]} for number in range(IMAGES)]
    for limit, told in ((3, 3), (4, None)):
        assert _told(_plan("chair", rows, images, limit), limit) == told
