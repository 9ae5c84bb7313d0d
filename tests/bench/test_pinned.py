"""An evaluation goes on with what it began with; what cannot be seen is missing, not wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpref.bench.evaluate import EvaluateRecipe, evaluate
from mmpref.errors import InputError, RunError

from .conftest import MODEL, MakeAdapter, png, pope_row, write_rows


def recipe(file: Path, adapter: Path | None = None) -> EvaluateRecipe:
    settings = {"pope": {"data": str(file), "suffix": "", "max_new_tokens": 4, "split": "train"}}
    return EvaluateRecipe(MODEL, ("pope",), adapter=str(adapter) if adapter else None, benchmark=settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / f"data/{name}.png").write_bytes(png(colour))
    return write_rows(tmp_path / "data/rows.jsonl", [pope_row(0, "a.png"), pope_row(1, "b.png", answer="no")])


@pytest.mark.parametrize("finished", [True, False])
def test_another_adapter_in_the_same_place_is_refused(
    file: Path, tmp_path: Path, make_adapter: MakeAdapter, finished: bool
) -> None:
    folder = make_adapter(tmp_path / "adapter")
    evaluate(recipe(file, folder), tmp_path / "run")
    if not finished:
        (tmp_path / "run/run.json").unlink()
    assert evaluate(recipe(file, folder), tmp_path / "run")["results"]
    make_adapter(folder, seed=1)
    with pytest.raises(RunError, match="adapter has changed"):
        evaluate(recipe(file, folder), tmp_path / "run")


@pytest.mark.parametrize("finished", [True, False])
def test_other_benchmark_rows_in_the_same_place_are_refused(file: Path, tmp_path: Path, finished: bool) -> None:
    first = evaluate(recipe(file), tmp_path / "run")
    assert first["data"]["pope"]["fingerprint"].startswith("sha256:")
    if not finished:
        (tmp_path / "run/run.json").unlink()
    write_rows(file, [pope_row(1, "b.png", answer="no"), pope_row(0, "a.png")])
    with pytest.raises(RunError, match="data has changed"):
        evaluate(recipe(file), tmp_path / "run")


def test_an_image_that_cannot_be_seen_is_missing(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png("green"))
    (tmp_path / "data/broken.png").write_bytes(b"no image")
    outside = [str(tmp_path / "secret.png"), "../secret.png", "none.png", "broken.png"]
    rows = [
        pope_row(0, "a.png"),
        *(pope_row(2 + i, path) for i, path in enumerate(outside)),
        pope_row(1, "b.png", answer="no"),
    ]
    whole = evaluate(recipe(file), tmp_path / "whole")["results"]
    holed = evaluate(recipe(write_rows(tmp_path / "data/holed.jsonl", rows)), tmp_path / "holed")["results"]
    assert {row["missing"] for row in holed} == {len(outside)}
    assert {row["missing"] for row in whole} == {0}
    assert [(row["metric"], row["value"], row["n"]) for row in holed] == [
        (row["metric"], row["value"], row["n"]) for row in whole
    ]
    kept = json.loads((tmp_path / "holed/results.json").read_text())
    assert kept["adapter"] is None


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "data/none.jsonl", [pope_row(0, "none.png")])
    with pytest.raises(InputError, match="No image"):
        evaluate(recipe(file), tmp_path / "run")
