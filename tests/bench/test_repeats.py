"""Questions that stand in a benchmark's rows more than once count as often, and are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.plan import load_plan
from tests.bench.conftest import png, pope_row, write_rows


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    for name, colour in (("a", "red"), ("b", "blue"), ("copy", "red")):
        (tmp_path / f"{name}.png").write_bytes(png(colour))
    return [pope_row(number, f"{name}.png") for number, name in enumerate(("a", "b"))]


def remarks(folder: Path, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return load_plan("pope", "pope", {"data": str(write_rows(folder / "mine.jsonl", rows))}, None).remarks


def test_rows_without_repeats_are_not_remarked_on(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    other = {**rows[0], "question": "Is there a dog in the image?"}
    assert remarks(tmp_path, [*rows, other, {**rows[0], "category": "popular"}]) == ()


def test_repeated_rows_are_told_and_count(
    tmp_path: Path, rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """By the image's content, not by its name."""
    [remark] = remarks(tmp_path, [*rows, rows[1], {**rows[0], "image": "copy.png"}])
    assert remark.startswith("pope: 2 of 4 questions repeat an earlier one about the same image, with the same answer")
    assert "(first: 2, after 1). Each counts as often as it stands there." in remark
    assert remark in caplog.text


def test_answers_that_contradict_each_other_are_told(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    [remark] = remarks(tmp_path, [*rows, {**rows[0], "answer": "no", "category": "popular"}])
    assert remark.startswith("pope: 1 of 3 questions have another answer than an earlier row has")
    assert "(first: 2, after 0). Each counts as it stands there." in remark


def test_an_image_that_is_described_twice_is_told(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    shown = [{"image": name, "objects": objects} for name, objects in (("a.png", "cup, box"), ("copy.png", "box, cup"))]
    file = str(write_rows(tmp_path / "shown.jsonl", [*shown, {"image": "a.png", "objects": "dog"}]))
    told = load_plan("chair", "chair", {"data": file}, None).remarks
    assert [remark.split(" (first")[0].partition(" of 3 questions ")[0] for remark in told[1:]] == ["chair: 1"] * 2
