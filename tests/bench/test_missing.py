"""An image that cannot be seen makes its question missing: counted apart from wrong; scores say over how many."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import InputError

from .conftest import MODEL, png, pope_row, write_rows


def _evaluate(data: Path, run: Path, **changes: Any) -> dict[str, Any]:
    pope = {"data": str(data), "max_new_tokens": 4}
    return evaluate(EvaluateRecipe(MODEL, ("pope",), benchmark={"pope": pope}, **changes), run)


def _by_part(found: dict[str, Any], model: str = "base") -> dict[str, tuple[int, int]]:
    """n and missing of each part's accuracy."""
    return {
        row["split"]: (row["n"], row["missing"])
        for row in found["results"]
        if row["metric"] == "accuracy" and row["model"] == model
    }


def test_broken_images_are_missing_in_their_part_for_both_models(adapter: Path, tmp_path: Path) -> None:
    good, cut = png("red"), png("blue")[:40]
    cells = [
        ({"bytes": good, "path": None}, "random"),
        ({"bytes": cut, "path": None}, "random"),
        ({"bytes": good, "path": None}, "popular"),
        ({"bytes": None, "path": "/none.png"}, "adversarial"),
        ({"bytes": good, "path": None}, "adversarial"),
    ]
    rows = [pope_row(i, image, category) for i, (image, category) in enumerate(cells)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    found = _evaluate(tmp_path / "test.parquet", tmp_path / "run", adapter=str(adapter))
    expected = {"random": (1, 1), "popular": (1, 0), "adversarial": (1, 1), "all": (3, 2)}
    assert _by_part(found) == _by_part(found, "adapter") == expected
    assert found["counts"] == {"pope": 5}
    assert found["missing"] == {"pope": {"base": 2, "adapter": 2}}
    kept = pq.read_table(tmp_path / "run/samples/base-pope.parquet").to_pylist()
    assert [row["answer"] is None for row in kept] == [False, True, False, True, False]
    assert [row["missing"] for row in kept] == [False, True, False, True, False]
    assert not any(row["parse_failure"] for row in kept if row["missing"])


def test_what_is_missing_does_not_change_the_score_of_the_rest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"data/{name}.png").parent.mkdir(exist_ok=True)
        (tmp_path / f"data/{name}.png").write_bytes(png({"a": "red", "b": "blue"}[name]))
    whole = write_rows(tmp_path / "data/whole.jsonl", [pope_row(0, "a.png"), pope_row(1, "b.png", answer="no")])
    holed = write_rows(
        tmp_path / "data/holed.jsonl",
        [pope_row(0, "a.png"), pope_row(9, "none.png"), pope_row(1, "b.png", answer="no")],
    )
    one, two = (_evaluate(file, tmp_path / file.stem, split="train") for file in (whole, holed))
    values = [[(row["metric"], row["value"], row["low"], row["n"]) for row in run["results"]] for run in (one, two)]
    assert values[0] == values[1]


def test_paths_are_under_the_tables_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/images/a.png").write_bytes(png("red"))
    (tmp_path / "secret.png").write_bytes(png("blue"))
    (tmp_path / "data/link.png").symlink_to(tmp_path / "secret.png")
    outside = [str(tmp_path / "secret.png"), "../secret.png", "link.png", "images", "a\0b.png", "x" * 5000]
    rows = [pope_row(i, path) for i, path in enumerate(["images/a.png", *outside])]
    here = Path.cwd()
    try:
        os.chdir(tmp_path)  # paths are relative to the table, not to where the command is run
        found = _evaluate(write_rows(tmp_path / "data/test.jsonl", rows), tmp_path / "run")
    finally:
        os.chdir(here)
    assert _by_part(found)["all"] == (1, len(outside))
    kept = pq.read_table(tmp_path / "run/samples/base-pope.parquet").to_pylist()
    assert [row["missing"] for row in kept] == [False, *([True] * len(outside))]
    assert "leaves its root" in caplog.text


def test_no_image_at_all_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "test.jsonl", [pope_row(i, f"{i}.png") for i in range(2)])
    with pytest.raises(InputError, match=r"No image of benchmark pope .* can be read.* row 0 .*0\.png"):
        _evaluate(file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_many_missing_images_are_told_in_few_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = [pope_row(i, "a.png" if i == 0 else f"{i}.png") for i in range(20)]
    _evaluate(write_rows(tmp_path / "test.jsonl", rows), tmp_path / "run")
    assert len([one for one in caplog.records if "are missing" in one.message]) == 1
    assert "19 of 20" in caplog.text
