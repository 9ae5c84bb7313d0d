"""A training that is asked for again looks at what it was made of: the model, photos that rows name by path, what is
held out and what is watched."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmpref.align.recipe import LoraSettings, TrainRecipe, WatchSettings
from mmpref.align.train import train
from mmpref.api.watching import watcher
from mmpref.errors import RunError
from mmpref.registry import resolve_path

from .conftest import MODEL
from .cut import Cut, cutting


@pytest.fixture
def recipe(tmp_path: Path) -> TrainRecipe:
    """Of four pairs in a table, of which one names a photo that is not there."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.new("RGB", (48, 48), (80 * number, 30, 30)).save(photos / f"{number}.png")
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "prompt", "chosen", "rejected"])
        rows.writerows([f"{number}.png", "What is it?", f"Number {number}.", "A cat."] for number in range(4))
    trainer = {"max_steps": 1, "per_device_train_batch_size": 2}
    return TrainRecipe(
        MODEL, (str(tmp_path / "pairs.csv"),), image_root=(str(photos),), lora=LoraSettings(2, 2), trainer=trainer
    )


@pytest.fixture
def of_a_folder(recipe: TrainRecipe, tmp_path: Path) -> TrainRecipe:
    """Two steps on a model that a test may change."""
    model = shutil.copytree(resolve_path(MODEL), tmp_path / "model")
    return replace(recipe, model=str(model), trainer={**recipe.trainer, "max_steps": 2, "save_steps": 1})


@pytest.mark.parametrize("name", ["model.safetensors", "chat_template.jinja", "processor_config.json"])
def test_a_model_that_was_exchanged_is_told(of_a_folder: TrainRecipe, tmp_path: Path, name: str) -> None:
    run, file = tmp_path / "run", Path(of_a_folder.model) / name
    before = file.read_bytes()
    whole = name.endswith("safetensors")
    after = before[:-1] + bytes([before[-1] ^ 1]) if whole else before + b" "
    told = "The" if whole else f"{name} of the"
    with pytest.raises(Cut):
        train(of_a_folder, run, on_progress=cutting(2))
    file.write_bytes(after)
    with pytest.raises(RunError, match=rf"^{told} model \S*model has changed since .*run was begun"):
        train(of_a_folder, run)
    file.write_bytes(before)
    for report in ("README.md", "TRAINING.json"):
        (file.parent / report).write_text("{}")  # what no model reads
    first = train(of_a_folder, run)
    assert first["model_weights"].keys() == {"model.safetensors"}
    assert train(of_a_folder, run) == first
    file.write_bytes(after)
    with pytest.raises(RunError, match=rf"^{told} model \S*model has changed since .*run was made"):
        train(of_a_folder, run)


def test_a_training_of_before_that_does_not_say_what_its_model_held_goes_on(
    of_a_folder: TrainRecipe, tmp_path: Path
) -> None:
    run, template = tmp_path / "run", Path(of_a_folder.model) / "chat_template.jinja"
    with pytest.raises(Cut):
        train(of_a_folder, run, on_progress=cutting(2))
    pinned = run / ".mmpref/training/began.json"
    began = json.loads(pinned.read_text())
    pinned.write_text(json.dumps({name: began[name] for name in ("datasets", "model")}))
    template.write_text(template.read_text() + " ")
    first = train(of_a_folder, run)
    assert first["model_weights"].keys() == {"model.safetensors"}
    template.write_text(template.read_text() + " ")
    assert train(of_a_folder, run) == first


def exchange(photo: Path) -> bytes:
    before = photo.read_bytes()
    Image.new("RGB", (48, 48), (0, 0, 200)).save(photo)
    return before


def test_a_photo_that_was_exchanged_after_the_end_is_told(
    recipe: TrainRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, photo = tmp_path / "run", tmp_path / "photos/1.png"
    first = train(recipe, run)
    assert train(recipe, run) == first
    before = exchange(photo)
    with pytest.raises(RunError, match=r"^The image 1\.png has changed since .*run was made"):
        train(recipe, run)
    photo.write_bytes(before)
    found = Path(shutil.copy(photo, tmp_path / "photos/3.png"))
    with pytest.raises(RunError, match=r"missing is found \(3\.png\)"):
        train(recipe, run)
    found.unlink()
    shutil.rmtree(tmp_path / "photos")
    assert train(recipe, run) == first
    assert "whether the image root is still what" in caplog.text


def test_a_photo_that_was_exchanged_while_the_training_was_interrupted_is_told(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mmpref.align.train._fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run")
    photo = tmp_path / "photos/1.png"
    before = exchange(photo)
    with pytest.raises(RunError, match=r"^The image 1\.png has changed since .*run was begun"):
        train(recipe, tmp_path / "run")
    photo.write_bytes(before)
    assert train(recipe, tmp_path / "run")["counts"]["rows"] == 3


def test_an_embedder_in_a_folder_that_was_changed_is_told(recipe: TrainRecipe, tmp_path: Path) -> None:
    embedder = Path(shutil.copytree(resolve_path("pkg:mmpref.testbed/embedder"), tmp_path / "embedder"))
    bdhs = {"similarity_model": str(embedder), "iterations": 1, "max_tail_tokens": 4}
    values = replace(recipe, method="online-bdhs", loss={"bdhs": bdhs})
    first = train(values, tmp_path / "run")
    assert train(values, tmp_path / "run") == first
    pooling = embedder / "1_Pooling/config.json"
    pooling.write_text(pooling.read_text() + "\n")
    with pytest.raises(RunError, match=rf"^{embedder} has changed since .*run was made"):
        train(values, tmp_path / "run")


def test_a_held_out_set_that_was_changed_after_the_end_is_told(recipe: TrainRecipe, tmp_path: Path) -> None:
    held_out = Path(shutil.copy(tmp_path / "pairs.csv", tmp_path / "held-out.csv"))
    asked = replace(recipe, method="reward-model", loss={"held_out": [str(held_out)]})
    first = train(asked, tmp_path / "run")
    assert train(asked, tmp_path / "run") == first
    held_out.write_text(held_out.read_text().replace("A cat.", "A dog."))
    with pytest.raises(RunError, match=r"^The held-out set \S*held-out\.csv has changed since"):
        train(asked, tmp_path / "run")


@pytest.mark.parametrize("changed", ["bench.jsonl", "synonyms.txt"])
def test_data_that_are_watched_and_were_changed_are_told(changed: str, recipe: TrainRecipe, tmp_path: Path) -> None:
    rows = [{"image": f"photos/{number}.png", "objects": ["cup"], "prompt": "Describe it."} for number in range(2)]
    (tmp_path / "bench.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "synonyms.txt").write_text("cup, mug\ndog, puppy\n")
    chair = {"data": str(tmp_path / "bench.jsonl"), "synonyms": str(tmp_path / "synonyms.txt"), "max_new_tokens": 4}
    trainer = {**recipe.trainer, "max_steps": 2, "save_steps": 1}
    asked = replace(recipe, trainer=trainer, watch=WatchSettings(("chair",), {"chair": chair}, every=1))
    run, file = tmp_path / "run", tmp_path / changed
    with pytest.raises(Cut):
        train(asked, run, evaluate=watcher(asked), on_progress=cutting(2))
    before = file.read_text()
    file.write_text(before.replace("cup", "dog") if changed == "bench.jsonl" else "cup, mug, beaker\ndog, puppy\n")
    with pytest.raises(RunError, match=r"^What the benchmark chair asks, .* has changed since .*run was begun"):
        train(asked, run, evaluate=watcher(asked))
    file.write_text(before)
    first = train(asked, run, evaluate=watcher(asked))
    assert train(asked, run, evaluate=watcher(asked)) == first
    if changed == "bench.jsonl":
        file.write_text(before.replace("cup", "dog"))
        with pytest.raises(RunError, match=r"^What the benchmark chair asks, .* has changed since .*run was made"):
            train(asked, run, evaluate=watcher(asked))
