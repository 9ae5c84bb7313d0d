"""Which run a command is going to make is known before its work: the folder that names a repository, and the hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpref.api.build import run_build
from mmpref.api.options import build_recipe, recipe_name, train_recipe
from mmpref.api.planned import planned_build, planned_train, recipe_of_pairs
from mmpref.api.train import run_train
from mmpref.errors import InputError, UsageError
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


def test_a_finished_run_in_its_own_folder_asks_the_hub_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = build_recipe(method="reversed", source=str(source))
    built = run_build(recipe, progress=False)
    monkeypatch.setattr("mmpref.api.build.look_up", lambda _recipe: pytest.fail("it is looked up"))
    assert run_build(recipe, progress=False).manifest == built.manifest


def test_what_a_training_builds_first_is_checked_before_anything_is_asked_for(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpref.api.train.look_up", lambda *_: pytest.fail("it is looked up"))
    file = source.with_name("mine.yaml")
    file.write_text("build-dataset: {source: nowhere.jsonl}\ntrain: {method: dpo}\n")
    own = train_recipe(recipe=str(file), model="pkg:mmpref.testbed/model")
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        run_train(own, str(file), progress=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="Several processes"):
        run_train(own, str(file), progress=False)


def test_columns_are_of_data_that_are_named(source: Path) -> None:
    with pytest.raises(UsageError, match="--dataset"):
        recipe_of_pairs(train_recipe(columns={"prompt": "question"}), recipe_name(None, None))


def test_a_training_without_a_dataset_is_named_by_the_one_that_is_built_first(source: Path) -> None:
    recipe = train_recipe()
    name = recipe_name(None, None)
    planned = planned_train(recipe, name)
    assert planned.path.name == f"train-dpo-{planned.recipe_hash[:8]}"
    given = train_recipe(dataset=str(source))
    assert planned_train(given, name).recipe_hash != planned.recipe_hash
    assert planned_train(recipe, name) == planned
