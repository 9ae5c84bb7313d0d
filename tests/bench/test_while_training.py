"""Benchmarks of a policy in training: groups with a missing image, and images that are not held in memory."""

from __future__ import annotations

import dataclasses
import gc
import math
from pathlib import Path
from typing import Any

import pytest

from mmpref.api.options import train_recipe
from mmpref.api.watching import watcher
from mmpref.bench.benchmark import BENCHMARKS, Sample
from mmpref.bench.evaluate import evaluate
from mmpref.bench.image_store import ImageStore
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.while_training import PeriodicEvaluator
from mmpref.errors import InputError, UsageError
from mmpref.types import ImageData, Message, ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy

from .benchmarks.conftest import cell, values, write_parquet
from .conftest import MODEL, png, write_rows


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelRef(MODEL))


@pytest.fixture
def questions() -> list[dict[str, Any]]:
    """MME's: two about each image."""
    return [
        {
            "question_id": f"count/{i}.png",
            "image": cell(i),
            "category": "count",
            "answer": answer,
            "question": f"Is there a cup in the image? {answer}",
        }
        for i in range(3)
        for answer in ("Yes", "No")
    ]


def _recipe(file: Path) -> EvaluateRecipe:
    return EvaluateRecipe(MODEL, ("mme",), benchmark={"mme": {"data": str(file), "max_new_tokens": 4}})


def test_watching_gives_what_evaluating_gives(questions: list[dict[str, Any]], policy: Policy, tmp_path: Path) -> None:
    questions[1]["image"] = {"bytes": png("red")[:30], "path": None}
    recipe = _recipe(write_parquet(tmp_path / "test.parquet", questions))
    watched = PeriodicEvaluator(recipe.benchmarks, recipe.benchmark, batch_size=3)(policy)
    found = values(evaluate(recipe, tmp_path / "run"))
    assert watched["mme/accuracy"].value == found["accuracy", "all"]["value"]
    assert found["accuracy", "all"]["missing"] == 1


def test_a_group_with_an_unreadable_image_is_missing_while_training(policy: Policy, tmp_path: Path) -> None:
    """One figure with two questions, of which one has a broken image: the other one alone must not make it right."""
    rows = [
        {
            "category": "VD",
            "subcategory": "x",
            "visual_input": "1",
            "set_id": str(figure),
            "figure_id": "1",
            "question_id": str(question),
            "question": "Is there a cup in the image?",
            "gt_answer": "1",
            "image": {"bytes": png("red")[:30] if (figure, question) == (0, 1) else png("red"), "path": None},
        }
        for figure in (0, 1)
        for question in (0, 1)
    ]
    settings = {
        "data": str(write_parquet(tmp_path / "image.parquet", rows)),
        "non_image_split": None,
        "max_new_tokens": 4,
    }
    recipe = EvaluateRecipe(MODEL, ("hallusionbench",), benchmark={"hallusionbench": settings})
    watch = PeriodicEvaluator(recipe.benchmarks, recipe.benchmark)
    watched = watch(policy)
    found = values(evaluate(recipe, tmp_path / "run"))
    assert found["fAcc_yes_no", "all"]["n"] == 1
    for name in ("aAcc_yes_no", "fAcc_yes_no", "qAcc_yes_no"):
        if found[name, "all"]["n"]:
            assert watched[f"hallusionbench/{name}"].value == found[name, "all"]["value"]
        else:
            assert math.isnan(watched[f"hallusionbench/{name}"].value)
    assert repr(watch(policy)) == repr(watched)


def test_where_no_image_can_be_read_nothing_is_scored(
    questions: list[dict[str, Any]], policy: Policy, tmp_path: Path
) -> None:
    for row in questions:
        row["image"] = {"bytes": b"x", "path": None}
    recipe = _recipe(write_parquet(tmp_path / "test.parquet", questions))
    watch = PeriodicEvaluator(recipe.benchmarks, recipe.benchmark)
    with pytest.raises(InputError, match="No image of benchmark mme"):
        watch(policy)


def test_the_hint_for_images_that_are_elsewhere_helps(tmp_path: Path) -> None:
    """``--image-root`` of a training is its dataset's, so that the hint names what is the benchmark's."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(png("red"))
    rows = write_rows(tmp_path / "shown.jsonl", [{"image": "a.png", "objects": ["cup"]}])
    told = {"benchmark.chair.data": str(rows)}
    recipe = train_recipe(eval_benchmark="chair", image_root=str(tmp_path / "photos"), set=told)
    with pytest.raises(InputError, match=r"No image of .* --set benchmark\.chair\.images=FOLDER"):
        watcher(recipe)
    assert watcher(
        train_recipe(eval_benchmark="chair", set={**told, "benchmark.chair.images": str(tmp_path / "photos")})
    )


def test_advice_names_a_metric_of_what_is_watched(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = write_rows(tmp_path / "shown.jsonl", [{"image": "a.png", "objects": ["cup"]}])
    told = {"benchmark.chair.data": str(rows)}
    with pytest.raises(UsageError, match=r"needs watch\.best") as caught:
        watcher(train_recipe(eval_benchmark="chair", patience=1, set=told))
    assert caught.value.hint == "Name a metric, such as --best=chair/chair_i"
    advised = caught.value.hint.rpartition("=")[2]
    assert watcher(train_recipe(eval_benchmark="chair", patience=1, best=advised, set=told))
    with pytest.raises(UsageError, match=r"Neither more nor less of chair/words") as caught:
        watcher(train_recipe(eval_benchmark="chair", best="chair/words", set=told))
    assert caught.value.hint == "Name a metric, such as --best=chair/chair_i"


def test_no_images_are_held_between_two_looks(questions: list[dict[str, Any]], tmp_path: Path) -> None:
    for row in questions:
        row["image"] = {"bytes": png("red") + b"%" * 100_000, "path": None}
    recipe = _recipe(write_parquet(tmp_path / "test.parquet", questions))
    watch = PeriodicEvaluator(recipe.benchmarks, recipe.benchmark)
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, ImageData) and len(one.content) > 100_000]
    assert not held
    assert watch


def test_nor_are_the_further_ones_of_questions_about_several(tmp_path: Path) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / f"{name}.png").write_bytes(png(colour) + b"%" * 100_000)
    row = {"images": ["a.png", "b.png"], "prompt": "What?", "chosen": "a", "rejected": "b"}
    settings = {"annotator": {"data": str(write_rows(tmp_path / "train.jsonl", [row])), "split": "train"}}
    watch = PeriodicEvaluator(("annotator",), settings)
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, ImageData) and len(one.content) > 100_000]
    assert not held
    assert [len(sample.images) for batch in watch._benchmarks[0][1].batches(2) for sample in batch] == [2, 2]


def test_a_task_that_asks_a_judge_by_itself_is_not_watched(
    questions: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some of lmms-eval do: a reply that failed would end the training."""
    entry = dataclasses.replace(BENCHMARKS.get("mme"), decided_by=lambda _: {"judge": "reader-1"})
    monkeypatch.setattr(BENCHMARKS, "get", lambda _: entry)
    recipe = _recipe(write_parquet(tmp_path / "test.parquet", questions))
    with pytest.raises(UsageError, match="mme is scored by a judge: not while training"):
        PeriodicEvaluator(recipe.benchmarks, recipe.benchmark)


def test_an_image_store_gives_samples_back_with_their_images() -> None:
    images = [ImageData(b"a", "one"), None, ImageData(b"bb", "two"), ImageData(b"a", "three"), ImageData(b"", "four")]
    samples = [Sample(str(i), "", image, (Message("user", "?"),), None) for i, image in enumerate(images)]
    batches = list(ImageStore(samples).batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [sample for batch in batches for sample in batch] == samples
