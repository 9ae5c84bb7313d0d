"""Published sets on the command line: what a recipe made for another method leaves out, what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmpref.cli.main import program
from mmpref.errors import MmprefError
from tests.data.published import files, shapes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files.coco(tmp_path / "coco")
    (tmp_path / "povid").mkdir()
    shapes.povid(tmp_path / "povid")
    return tmp_path


def build(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["build-dataset", *arguments])


def test_no_option_but_the_method_and_images_is_needed(folder: Path) -> None:
    done = build(
        "--method",
        "povid",
        "--source",
        str(folder / "povid"),
        "--image-root",
        str(folder / "coco"),
        "--output",
        str(folder / "run"),
        "--json",
    )
    assert done.exit_code == 0, done.output
    recipe = json.loads(done.stdout)["recipe"]
    assert (recipe["model"], recipe["limit"], recipe["builder"]) == (None, None, {})
    listed = build(
        "--method",
        "povid",
        "--source",
        str(folder / "povid"),
        "--image-root",
        str(folder / "coco"),
        "--output",
        str(folder / "run"),
    )
    assert "1 missing-image, 1 prompts-differ" in listed.stdout


def test_a_model_is_not_loaded(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "mmpref"):
        done = build(
            "--method",
            "povid",
            "--model",
            "pkg:mmpref.testbed/model",
            "--source",
            str(folder / "povid"),
            "--image-root",
            str(folder / "coco"),
            "--output",
            str(folder / "run"),
            "--json",
        )
    assert done.exit_code == 0, done.output
    assert "uses no model" in caplog.text
    assert json.loads(done.stdout)["model"] is None


def test_mix_needs_a_source_and_takes_several(folder: Path) -> None:
    built = []
    for number in range(2):
        output = folder / f"run{number}"
        done = build(
            "--method",
            "povid",
            "--source",
            str(folder / "povid"),
            "--image-root",
            str(folder / "coco"),
            "--limit",
            str(number + 1),
            "--output",
            str(output),
        )
        assert done.exit_code == 0, done.output
        built.append(str(output))
    done = build(
        "--method", "mix", "--source", built[0], "--source", built[1], "--output", str(folder / "mix"), "--json"
    )
    assert done.exit_code == 0, done.output
    manifest = json.loads(done.stdout)
    assert manifest["counts"]["rows"] == 3
    assert manifest["recipe"]["source"] == built


def test_mix_alone_asks_for_a_source() -> None:
    done = build("--method", "mix")
    assert isinstance(done.exception, MmprefError)
    assert (done.exception.exit_code, done.exception.hint) == (2, "Give it with --source.")


def test_options_of_another_method_are_refused(folder: Path) -> None:
    done = build("--method", "povid", "--source", str(folder / "povid"), "--rho-th", "0.5")
    assert isinstance(done.exception, MmprefError)
    assert done.exception.exit_code == 2
    assert "no setting 'rho_th'" in str(done.exception)


def test_the_methods_are_listed_with_their_repositories() -> None:
    done = CliRunner().invoke(program, ["list", "datasets", "--json"])
    listed = {row["name"]: row["what"] for row in json.loads(done.stdout)}
    assert "MMInstruction/VLFeedback" in listed["vlfeedback"]
    assert {"dress", "llava-rlhf", "mix", "povid", "rlaif-v", "rlhf-v"} <= set(listed)
