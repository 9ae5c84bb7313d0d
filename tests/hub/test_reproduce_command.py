"""The command in a card gives the recipe of its run back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mmpref.align.recipe import TrainRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.hub.cards.reproduce_command import command_of
from mmpref.recipes import resolve
from mmpref.recipes import schema as recipes
from tests.hub.runs import COMMIT, dataset_run


def given_back(manifest: dict[str, Any], cls: type[Any]) -> dict[str, Any]:
    """The recipe that the command line of a card resolves to."""
    words = shlex.split(command_of(manifest).replace("\\\n", " "))
    assert words[:2] == ["mmpref", manifest["command"]]
    given, assignments, recipe = {}, [], None
    for option, value in zip(words[2::2], words[3::2], strict=True):
        key = option.removeprefix("--").replace("-", "_")
        if key == "set":
            assignments.append(value)
        elif key == "recipe":
            recipe = value
        else:
            several = key in ("image_root", "dataset")
            given[key] = int(value) if key in ("limit", "seed") else (value,) if several else value
    resolved = resolve.resolve(cls, manifest["command"], recipe, given, resolve.parse_set(assignments))
    return recipes.as_plain(resolved)


def test_the_command_gives_the_recipe_back(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    got = given_back(manifest, BuildRecipe)
    wanted = resolve.merge(manifest["recipe"], {"revision": COMMIT, "source_revision": COMMIT})
    wanted["image_root"] = ["/path/to/images"]
    wanted["builder"] = {key: value for key, value in wanted["builder"].items() if value is not None}
    assert {key: got["builder"][key] for key in wanted["builder"]} == wanted["builder"]
    assert {key: value for key, value in got.items() if key in wanted and key != "builder"} == {
        key: value for key, value in wanted.items() if key != "builder"
    }


def test_the_command_of_a_training_takes_no_defaults_of_another_recipe() -> None:
    """Settings that the run left to TRL stay so: the paper's recipe, which --model brings, would set them."""
    recipe = recipes.as_plain(TrainRecipe("me/vlm", ("me/pairs",), trainer={"learning_rate": 3e-4}))
    got = given_back({"command": "train", "recipe": recipe}, TrainRecipe)
    assert got == recipe


def test_the_command_names_the_commit_of_the_embedder(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run") | {"embedders": [{"id": "me/embedder", "revision": COMMIT}]}
    for said in ("me/embedder", "me/embedder@main"):
        manifest["recipe"]["builder"]["similarity_model"] = said
        assert given_back(manifest, BuildRecipe)["builder"]["similarity_model"] == f"me/embedder@{COMMIT}"
    loss = {"bdhs": {"similarity_model": "me/embedder", "iterations": 3}}
    recipe = recipes.as_plain(TrainRecipe("me/vlm", ("me/pairs",), method="online-bdhs", loss=loss))
    got = given_back({"command": "train", "recipe": recipe, "embedders": manifest["embedders"]}, TrainRecipe)
    assert got["loss"]["bdhs"] == {"similarity_model": f"me/embedder@{COMMIT}", "iterations": 3}


def test_the_command_names_the_commit_of_every_table(tmp_path: Path) -> None:
    """Files of a repository, sources of a union, sets whose images are excluded, held-out ones."""
    file = "hf://datasets/me/raw@main/en.jsonl"
    facts = {"id": file, "revision": COMMIT}
    adapter = {"command": "train", "datasets": [facts, {"id": "/some/rows.jsonl", "revision": None}]}
    adapter["recipe"] = recipes.as_plain(TrainRecipe("me/vlm", (file, "/some/rows.jsonl")))
    pinned = f"hf://datasets/me/raw@{COMMIT}/en.jsonl"
    assert f"--dataset {pinned} \\\n  --dataset /path/to/rows.jsonl" in command_of(adapter)

    held_out = {
        "me/two:dev": {"id": "me/two", "revision": COMMIT},
        "rows.jsonl": {"id": "rows.jsonl", "revision": None},
    }
    adapter["recipe"]["loss"]["held_out"], adapter["held_out"] = list(held_out), held_out
    assert f'loss.held_out=["hf://datasets/me/two@{COMMIT}:dev", "rows.jsonl"]' in command_of(adapter)

    union = {"id": "raw + sft", "sources": [facts, {"id": "me/sft", "revision": COMMIT}, {"id": "old"}]}
    pairs = dataset_run(tmp_path / "run", source=union, excluded=[{"id": "me/two", "revision": COMMIT}, {"id": "rows"}])
    pairs["recipe"] |= {"source": [file, "me/sft", "old"], "exclude_images_of": ["me/two:validation", "rows"]}
    command = command_of(pairs)
    assert f"--source {pinned} \\\n  --source hf://datasets/me/sft@{COMMIT} \\\n  --source old" in command
    assert f'exclude_images_of=["hf://datasets/me/two@{COMMIT}:validation", "rows"]' in command
