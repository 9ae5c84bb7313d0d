"""Which run a command is going to make is known before its work: the folder that names a repository, and the hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpref.api.build import run_build
from mmpref.api.options import build_recipe, recipe_name, train_recipe
from mmpref.api.planned import planned_build, planned_train
from tests.align.test_preference_data import row


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image = [{"bytes": None, "path": "a.png"}]
    (tmp_path / "a.png").write_bytes(row()["images"][0]["bytes"])
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row(images=image)) + "\n")
    return file


def test_a_build(source: Path) -> None:
    recipe = build_recipe(method="reversed", source=str(source))
    planned = planned_build(recipe)
    built = run_build(recipe, progress=False)
    assert (built.path, built.manifest["recipe_hash"]) == (planned.path, planned.recipe_hash)
    assert planned_build(recipe, Path("mine")).path == Path("mine")


def test_a_training_without_a_dataset_is_named_by_the_one_that_is_built_first(source: Path) -> None:
    recipe = train_recipe()
    name = recipe_name(None, None)
    planned = planned_train(recipe, name)
    assert planned.path.name == f"train-dpo-{planned.recipe_hash[:8]}"
    given = train_recipe(dataset=str(source))
    assert planned_train(given, name).recipe_hash != planned.recipe_hash
    assert planned_train(recipe, name) == planned
