"""Photos that preference rows name by path: a training that is asked for again looks at what they show by now."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import RunError
from mmpref.registry import resolve_path

from .conftest import MODEL


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
