"""A mistyped path is told from an id of the Hub, and what is near it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.api.checks import look_up, refuse_absent
from mmpref.api.options import build_recipe, evaluate_recipe
from mmpref.errors import InputError, MmprefError, ModelError, RunError
from mmpref.local_paths import is_path, near_path
from mmpref.run.manifest import read_manifest
from mmpref.tables.open import open_table
from mmpref.types import ModelRef
from mmpref.vlm.load import identify


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs/build/dataset").mkdir(parents=True)
    (tmp_path / "mine.jsonl").write_text('{"question": "What?", "answer": "A cup."}\n')
    (tmp_path / "models/vlm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("runs/builld/dataset", "runs/build/dataset"),
        ("./mine.jsnl", "mine.jsonl"),
        ("mine.jsnl", "mine.jsonl"),
        ("rums/build/data", "runs/build/dataset"),
        ("runs/builld/zzz", "runs/build"),
        ("runs/zzz", ""),
        ("mine.jsonl/zzz", ""),
        ("stanford/coco", ""),
    ],
)
def test_what_is_near(name: str, near: str, here: Path) -> None:
    assert near_path(name) == near
    assert near_path(str(here / name)) == (str(here / near) if near else "")


def test_ids_of_the_hub_are_no_paths() -> None:
    assert not any(map(is_path, ("squad", "me/vlm", "me/v1.5-7b")))
    assert all(map(is_path, ("./vlm", "../vlm", "~/vlm", "/vlm", "runs/build/dataset")))


@pytest.mark.parametrize("name", ["runs/builld/dataset", "./runs/buil/dataset", "mine.json", "./mine.jsnl"])
def test_a_dataset_that_is_not_there(name: str) -> None:
    near = "runs/build/dataset" if "runs" in name else "mine.jsonl"
    with pytest.raises(InputError) as refused:
        open_table(name)
    assert str(refused.value) == f"There is no file or folder {name}. Did you mean {near!r}?"


def test_a_relative_path_is_told_with_the_folder_that_it_counts_from(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = here / "runs/build"
    monkeypatch.chdir(below)
    looked = f" It was looked for from {below}, the folder that paths in recipe files count from too."
    (here / "my.yaml").write_text("build-dataset: {source: mine.jsonl}\n")
    with pytest.raises(InputError) as refused:
        refuse_absent(build_recipe(recipe="../../my.yaml", model="pkg:mmpref.testbed/model"))
    assert str(refused.value) == f"There is no file or folder mine.jsonl. Check the path.{looked}"
    with pytest.raises(ModelError) as model:
        refuse_absent(build_recipe(model="./nowhere", source="testbed"))
    assert str(model.value).endswith(f"Check the path, or name a model of the Hub.{looked}")
    with pytest.raises(InputError) as absolute:
        open_table("/nowhere/mine.jsonl")
    assert str(absolute.value) == "There is no file or folder /nowhere/mine.jsonl. Check the path."


def test_models_adapters_and_embedders_that_are_not_there() -> None:
    said = {
        "model": lambda: build_recipe(model="./models/vml", source="testbed"),
        "similarity model": lambda: build_recipe(similarity_model="./models/vml"),
        "adapter": lambda: evaluate_recipe(adapter="./models/vml"),
    }
    for what, recipe in said.items():
        with pytest.raises(ModelError) as refused:
            refuse_absent(recipe())
        assert str(refused.value) == (
            f"Cannot load the {what} ./models/vml: there is no such folder. Did you mean 'models/vlm'?"
        )


def test_what_may_be_an_id_is_looked_for_on_the_hub_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nobody answers
    with pytest.raises(MmprefError, match=r"the Hub .* cannot be asked .*Did you mean 'runs/build'\?"):
        open_table("runs/builld")
    for recipe in (build_recipe(model="models/vml", source="mine.jsonl"), evaluate_recipe(adapter="models/vml")):
        with pytest.raises(ModelError, match=r"Did you mean 'models/vlm'\?"):
            look_up(recipe)
    with pytest.raises(ModelError, match=r"Did you mean 'models/vlm'\?"):
        identify(ModelRef("models/vml"))


def test_runs_that_are_not_there() -> None:
    with pytest.raises(RunError, match=r"Did you mean 'runs/build'\?"):
        read_manifest(Path("runs/buidl"))
