"""A finished run is good without what it was made of: where that is gone it is shown, and warned of what could not be
looked at. What is not finished, or of another recipe, needs it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from mmpref.cli.main import program
from mmpref.registry import resolve_path
from tests.cases.commands import SMALL, done, refused
from tests.cli.test_reproduce_checks import RECIPE

pytestmark = pytest.mark.usefixtures("no_hub")
THINGS = ("cup", "knife", "plate")
GONE = "could not be checked: it is not there."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, three photos, and tables that name these."""
    shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), tmp_path / "vlm")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (48, 48), (80 * number, 30, 30)).save(tmp_path / f"photos/{number}.png")
    _write(tmp_path / "mine.csv", answer="There is a {}.")
    _write(tmp_path / "pairs.csv", chosen="There is a {}.", rejected="A cat.")
    _write(tmp_path / "asked.csv", answer="yes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(file: Path, **texts: str) -> None:
    with open(file, "w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["image", "question", *texts])
        rows.writerows(
            [f"{number}.png", "Is it red?", *(text.format(THINGS[number]) for text in texts.values())]
            for number in range(3)
        )


COMMANDS: dict[str, tuple[str, tuple[object, ...]]] = {
    "build-dataset": ("mine.csv", ("--method", "mismatched", "--source", "mine.csv")),
    "train": ("pairs.csv", ("--dataset", "pairs.csv", *SMALL)),
    "evaluate": ("asked.csv", ("--benchmark", "pope", "--set", "benchmark.pope.data=asked.csv")),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_finished_run_is_shown_without_its_data_and_its_model(
    folder: Path, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    table, options = COMMANDS[command]
    words = [command, *options, "--model", "vlm", "--image-root", "photos"]
    first = done(*words, "--output", "run")
    (folder / table).rename("elsewhere.csv")
    if command != "build-dataset":  # by a method without a model
        (folder / "vlm").rename("other")
    assert _same(done(*words, "--output", "run"), first)
    assert f"whether {'the data of pope' if command == 'evaluate' else table} is still what run was" in caplog.text
    assert command == "build-dataset" or "whether the model vlm is still what run was" in caplog.text
    if command != "build-dataset":
        (folder / "other").rename("vlm")
    assert f"There is no file or folder {table}" in refused(*words, "--seed", "5", "--output", "run")
    assert f"There is no file or folder {table}" in refused(*words, "--output", "new")
    assert not (folder / "new").exists()
    (folder / "run/run.json").unlink()
    assert f"There is no file or folder {table}" in refused(*words, "--output", "run")


def _same(again: dict[str, Any], first: dict[str, Any]) -> bool:
    return bool(again["seconds"] == first["seconds"] and again["recipe_hash"] == first["recipe_hash"])


def test_what_else_has_changed_is_told_where_the_data_are_gone(folder: Path) -> None:
    _, options = COMMANDS["evaluate"]
    words = ["evaluate", *options, "--model", "vlm", "--image-root", "photos", "--output", "run"]
    done(*words)
    (folder / "asked.csv").unlink()
    config = folder / "vlm/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "other": 1}))
    assert "The model has changed since run was made" in refused(*words)


def test_a_training_whose_own_pairs_are_gone_builds_none(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ["train", "--model", "vlm", "--recipe", "my.yaml", *SMALL, "--output", "run"]
    section = {"method": "mismatched", "source": "mine.csv", "image_root": ["photos"]}
    Path("my.yaml").write_text(yaml.safe_dump({"build-dataset": section, "train": {"model": "vlm"}}))
    first = done(*words)
    shutil.rmtree("runs")
    (folder / "mine.csv").unlink()
    assert _same(done(*words), first)
    assert GONE in caplog.text
    assert not Path("runs").exists()


def test_the_finished_steps_of_a_recipe_need_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    build = {"method": "mismatched", "model": "vlm", "source": "mine.csv", "image_root": ["photos"]}
    Path("my.yaml").write_text(yaml.safe_dump({**RECIPE, "build-dataset": build}))
    words = ["reproduce", "my.yaml", "--output", "all"]
    first = CliRunner().invoke(program, [*words, "--only", "build-dataset"])
    assert first.exit_code == 0, first.output
    (folder / "mine.csv").unlink()
    again = CliRunner().invoke(program, [*words, "--only", "build-dataset"])
    assert again.exit_code == 0, again.output
    assert f"whether mine.csv is still what all/build-dataset was made of {GONE}" in caplog.text
    assert "no file or folder mine.csv" in refused("reproduce", "my.yaml", "--output", "new")
