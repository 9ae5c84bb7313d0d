"""The testbed's analogues, through the benchmarks themselves and the recipe, on the shipped model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.recipes import resolve

from ..conftest import MODEL
from .conftest import values

NAMES = ("repope", "textvqa", "textvqa-ocr", "gqa", "mme", "mmstar", "amber", "hallusionbench")
LIMIT = 30
LEAST = {  # well below what the shipped model reaches, well above chance
    ("repope", "accuracy"): 0.75,
    ("textvqa", "vqa_accuracy"): 0.1,
    ("gqa", "accuracy"): 0.4,
    ("mme", "accuracy"): 0.7,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = {name: resolve.load("testbed")["evaluate"]["benchmark"][name] for name in NAMES}
    recipe = EvaluateRecipe(MODEL, NAMES, benchmark=settings, limit=LIMIT)
    return evaluate(recipe, tmp_path_factory.mktemp("run") / "out")


@pytest.mark.parametrize(("benchmark", "metric"), LEAST)
def test_the_shipped_model_sees(found: dict[str, Any], benchmark: str, metric: str) -> None:
    rows = [row for row in found["results"] if row["benchmark"] == benchmark]
    assert values({"results": rows})[metric, "all"]["value"] >= LEAST[benchmark, metric]


def test_every_benchmark_makes_claims_on_something(found: dict[str, Any]) -> None:
    assert {row["benchmark"] for row in found["results"]} == set(NAMES)
    assert {row["benchmark"] for row in found["results"] if row["headline"]} == set(NAMES)


def test_mmstar_finds_no_letter_in_answers_of_a_model_that_knows_none(found: dict[str, Any]) -> None:
    rows = values({"results": [row for row in found["results"] if row["benchmark"] == "mmstar"]})
    assert rows["accuracy", "all"]["parse_failures"] == rows["accuracy", "all"]["n"] == LIMIT


def test_captions_of_amber_are_counted_by_the_scene(found: dict[str, Any]) -> None:
    rows = values({"results": [row for row in found["results"] if row["benchmark"] == "amber"]})
    assert rows["chair_lexical", "caption"]["value"] < 0.4
    assert rows["cover_lexical", "caption"]["value"] > 0.6


def test_no_answer_depends_on_the_batch_size(tmp_path: Path) -> None:
    names = ("textvqa-ocr", "gqa", "amber", "hallusionbench")
    settings = {name: resolve.load("testbed")["evaluate"]["benchmark"][name] for name in names}
    for size in (1, 7):
        recipe = EvaluateRecipe(MODEL, names, benchmark=settings, limit=9)
        evaluate(recipe, tmp_path / str(size), batch_size=size)
    for file in ("results.json", "resamples.parquet", *(f"samples/base-{name}.parquet" for name in names)):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "7" / file).read_bytes(), file
