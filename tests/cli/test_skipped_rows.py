"""Skipped rows are told alike by every command that builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from mmpref.cli.main import program

MODEL = "pkg:mmpref.testbed/model"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Of a set of four pairs, two of which cannot be used."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    pair = {"image": "red.png", "prompt": "What?", "chosen": "A rod.", "rejected": "A cup."}
    rows = [pair, {**pair, "image": None}, {**pair, "rejected": "A rod."}, pair]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sections = {
        "build-dataset": {"method": "mix", "source": str(tmp_path / "pairs.jsonl")},
        "train": {"model": MODEL},
        "evaluate": {"model": MODEL, "benchmarks": ["pope"], "benchmark": {"pope": {"data": "testbed-pope"}}},
    }
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(sections))
    return file


def _said(*words: object) -> list[str]:
    """The lines of a command's result, without what aligns columns."""
    done = CliRunner().invoke(program, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_reproduce_tells_what_its_step_tells(recipe: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "mmpref"):
        alone = _said("build-dataset", "--recipe", recipe, "--output", recipe.parent / "alone")
        log = [message for message in caplog.messages if "skipped" in message]
        caplog.clear()
        within = _said("reproduce", recipe, "--only", "build-dataset", "--output", recipe.parent / "run")
    skipped, *legend = (line for line in alone if "same-as-chosen" in line or "no-image" in line)
    assert "1 no-image, 1 same-as-chosen" in skipped
    assert [line.split(":")[0] for line in legend] == ["no-image", "same-as-chosen"]
    assert {skipped, *legend} <= set(within)
    assert log[0] == "2 pairs; skipped rows: 1 no-image, 1 same-as-chosen."
    assert [message for message in caplog.messages if "skipped" in message] == log
