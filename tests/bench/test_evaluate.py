"""Evaluation end to end on the shipped model, and on files of exactly the Hub's columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import InputError, RunError, UsageError
from tests import forked

MODEL = "pkg:mmpref.testbed/model"
SYNONYMS = "pkg:mmpref.testbed/synonyms.txt"
ANALOGUES = {
    "pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 8},
    "chair": {"data": "testbed-chair", "synonyms": SYNONYMS, "max_new_tokens": 48},
}


def _recipe(**changes: Any) -> EvaluateRecipe:
    return EvaluateRecipe(
        **{"model": MODEL, "benchmarks": ("pope", "chair"), "benchmark": ANALOGUES, "limit": 24, **changes}
    )


def _png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_results_have_intervals_and_counts_and_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    found = evaluate(_recipe(), tmp_path / "a", batch_size=24)
    evaluate(_recipe(), tmp_path / "b", batch_size=5)
    assert (tmp_path / "a/results.json").read_bytes() == (tmp_path / "b/results.json").read_bytes()
    for name in ("base-pope", "base-chair"):
        one, two = (tmp_path / run / "samples" / f"{name}.parquet" for run in "ab")
        assert one.read_bytes() == two.read_bytes()
    by_name = {(row["benchmark"], row["metric"], row["split"]): row for row in found["results"]}
    recall = by_name["chair", "recall", "all"]
    assert 0.6 < recall["value"] <= 1
    assert recall["low"] <= recall["value"] <= recall["high"]
    assert by_name["pope", "accuracy", "all"]["n"] == 24
    assert by_name["pope", "accuracy", "all"]["parse_failures"] == 0
    assert found["differences"] == []


def test_a_finished_evaluation_is_not_done_again(tmp_path: Path) -> None:
    first = evaluate(_recipe(benchmarks=("chair",), limit=4), tmp_path)
    again = evaluate(_recipe(benchmarks=("chair",), limit=4), tmp_path)
    assert again["seconds"] == first["seconds"]
    assert again["results"] == first["results"]


def test_the_hub_columns_of_pope(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": str(i),
            "question_id": str(i + 1),
            "question": "Is there a cup in the image?",
            "answer": answer,
            "image_source": f"COCO_val2014_{i // 2:012d}",
            "image": {"bytes": _png(("red", "blue")[i // 2]), "path": None},
            "category": category,
        }
        for i, (answer, category) in enumerate([("yes", "random"), ("no", "random"), ("no", "adversarial")])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test-00000-of-00001.parquet")
    recipe = EvaluateRecipe(MODEL, ("pope",), benchmark={"pope": {"data": str(tmp_path), "max_new_tokens": 4}})
    found = evaluate(recipe, tmp_path / "out")
    parts = {(row["split"], row["metric"]): row for row in found["results"]}
    assert parts["random", "accuracy"]["n"] == 2
    assert parts["adversarial", "accuracy"]["n"] == 1
    assert ("all", "mean_f1") in parts
    assert parts["all", "accuracy"]["images"] == 2


def test_rows_of_another_benchmark_are_refused_by_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"image": "a.png", "question": "Is it?"}) + "\n")
    recipe = EvaluateRecipe(MODEL, ("pope",), benchmark={"pope": {"data": str(tmp_path / "test.jsonl")}})
    with pytest.raises(InputError, match=r"row 0 .* no value in column 'answer'; .* say so: --columns answer=COLUMN"):
        evaluate(recipe, tmp_path / "out")


def test_chair_says_where_its_table_comes_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"synonyms"):
        evaluate(EvaluateRecipe(MODEL, ("chair",)), tmp_path / "out")


def test_unknown_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'pope'"):
        evaluate(_recipe(benchmarks=("popes",)), tmp_path)
    with pytest.raises(UsageError, match="suffix"):
        evaluate(_recipe(benchmark={"pope": {"sufix": ""}}, benchmarks=("pope",)), tmp_path)


def test_too_little_memory_is_said_and_the_answers_stay(tmp_path: Path) -> None:
    import torch

    def allocate(*_: Any) -> None:
        torch.empty(2**55)

    with pytest.raises(RunError, match=r"memory does not suffice for the evaluation.*Use a smaller --batch-size"):
        evaluate(_recipe(benchmarks=("chair",), limit=4), tmp_path, batch_size=2, on_progress=allocate)
    kept = (tmp_path / ".mmpref/answers-base-chair.jsonl").read_text()
    assert kept.count("\n") == 2
    evaluate(_recipe(benchmarks=("chair",), limit=4), tmp_path, batch_size=2)
    assert (tmp_path / ".mmpref/answers-base-chair.jsonl").read_text().startswith(kept)


@pytest.mark.long
def test_a_killed_evaluation_goes_on_to_the_same_results(tmp_path: Path) -> None:
    evaluate(_recipe(benchmarks=("chair",), limit=64), tmp_path / "whole", batch_size=8)
    options = ["--benchmark", "chair", "--limit", "64", "--batch-size", "8", "--output", str(tmp_path / "killed")]
    words = ["evaluate", *options, "--set", "benchmark.chair.max_new_tokens=48"]
    kept = tmp_path / "killed/.mmpref/answers-base-chair.jsonl"
    forked.start(words).kill_once(tmp_path / "killed", lambda: kept.is_file() and kept.stat().st_size > 0)
    done = kept.read_text().count("\n")
    assert 0 < done < 64
    forked.run(words)
    ours, theirs = ((tmp_path / run / "samples/base-chair.parquet").read_bytes() for run in ("whole", "killed"))
    assert ours == theirs
