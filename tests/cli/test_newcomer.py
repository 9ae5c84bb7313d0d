"""What a newcomer runs into on the first day: each mistake ends in one line that says what to do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmpref.cli.format import print_table
from mmpref.cli.main import main
from tests import bare, forked
from tests.align.conftest import preferences

__all__ = ["preferences"]  # the fixture

UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def mmpref(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    if env is None:
        return forked.mmpref(arguments, folder=cwd)
    kept = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "MMPREF_DEBUG")}
    return bare.mmpref(arguments, {**kept, **env}, cwd)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a command in this process in an empty folder: (exit code, its one Error line)."""
    import signal

    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*arguments: object) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
        return ended.value.code, line

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    Image.new("RGB", (33, 700), "red").save(tmp_path / "tall.png")
    row = {"prompt": "What?", "chosen": "A rod.", "rejected": "A cup.", "question": "What?", "answer": "A rod."}
    (tmp_path / "qa.jsonl").write_text(json.dumps({**row, "images": ["tall.png"]}) + "\n")
    return tmp_path / "qa.jsonl"


@pytest.mark.parametrize(
    "command",
    [
        ["build-dataset", "--split", "validation", "--source"],
        ["inspect", "--split", "validation"],
        ["train", "--set", "split=validation", "--dataset"],
    ],
)
def test_a_file_has_no_split_that_its_name_does_not_say(said, pairs: Path, command: list[str]) -> None:
    assert said(*command, pairs) == (1, f"Error: {pairs} has no split 'validation'. There are: train.")
    assert not (pairs.parent / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["build-dataset", "--model", "me/vlm"], ["--source"]),
        (["build-dataset", "--recipe", "plain"], ["--model"]),
        (["evaluate", "--recipe", "plain"], ["--model"]),
        (
            ["reproduce", "paper"],
            ["build-dataset --recipe paper --model MODEL --source ROWS", "evaluate --recipe paper"],
        ),
        (["train", "--set", "trainer.max_steps=abc"], ["trainer.max_steps is 'abc'"]),
    ],
)
def test_what_is_missing_is_named_by_its_option(
    said, preferences: Path, arguments: list[str], options: list[str]
) -> None:
    own = ["--dataset", str(preferences)] if arguments[0] == "train" else []
    code, line = said(*arguments, *own)
    assert code == 2
    for option in options:
        assert option in line


def test_a_step_that_needs_no_source_can_be_reproduced_without_one(said, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("build-dataset: {}\ntrain: {}\nevaluate: {model: 'pkg:mmpref.testbed/model'}\n")
    code, line = said("reproduce", "mine.yaml", "--only", "evaluate")
    assert (code, "not a run directory" in line) == (1, True)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["build-dataset", "--model", "./nothere", "--source"], "model"),
        (["build-dataset", "--similarity-model", "a/b/c", "--source"], "similarity model"),
        (["evaluate", "--adapter", "./nothere", "--recipe"], "adapter"),
    ],
)
def test_a_folder_that_is_not_there_is_called_so(said, pairs: Path, command: list[str], what: str) -> None:
    code, line = said(*command, "testbed" if command[0] == "evaluate" else pairs)
    assert code == 1
    assert line.startswith(f"Error: Cannot load the {what} {command[2]}: there is no such folder.")


def test_images_that_are_elsewhere(said, pairs: Path) -> None:
    (pairs.parent / "tall.png").unlink()
    assert (
        "Name the folder that paths are relative to with --image-root." in said("build-dataset", "--source", pairs)[1]
    )


@pytest.mark.long
def test_a_page_that_cannot_be_written(said, pairs: Path) -> None:
    (pairs.parent / "img").mkdir()
    for page, why in (("/proc/x.html", "Cannot write"), (pairs / "x.html", "Cannot write")):
        code, line = said("inspect", pairs, "--html", page)
        assert (code, why in line, line.endswith("Choose another file for --html.")) == (1, True, True)
    run = pairs.parent / "run"
    assert mmpref("evaluate", "--benchmark", "chair", "--limit", "4", "--output", run, cwd=run.parent).returncode == 0
    code, line = said("compare", run, "--html", pairs.parent / "img")
    assert (code, line.endswith("img is a folder. Choose another file for --html.")) == (1, True)
    assert "is a run of `evaluate`, not a dataset" in said("inspect", run)[1]


def test_tall_images_stay_inside_the_gallery(pairs: Path, tmp_path: Path) -> None:
    done = mmpref("inspect", pairs, "--html", tmp_path / "g.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rule = next(line for line in (tmp_path / "g.html").read_text().splitlines() if line.startswith(".pair img"))
    assert "max-height: 180px" in rule
    assert "object-fit: contain" in rule


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--adapter", "nothere", "--recipe", "testbed"],
        ["build-dataset", "--model", "nobody/nothing", "--source", "testbed", "--limit", "2"],
        ["build-dataset", "--similarity-model", "foo/bar", "--limit", "2"],
        ["train", "--model", "pkg:mmpref.testbed/model", "--dataset", "out/pars"],
        ["train", "--recipe", "testbed", "--method", "online-dpo", "--annotator", "out/modl"],
        ["evaluate", "--model", "out/modl", "--benchmark", "pope", "--set", "benchmark.pope.data=testbed-pope"],
        ["evaluate", "--recipe", "testbed", "--set", "benchmark.pope.data=out/pars"],
    ],
)
def test_a_hub_that_does_not_answer_is_said_in_two_lines(command: list[str], tmp_path: Path) -> None:
    """Nobody is told of a variable that they have not set."""
    done = mmpref(*command, cwd=tmp_path, env={**UNREACHABLE, "HF_HOME": str(tmp_path / "home")})
    assert done.returncode == 1
    _, talk, error = done.stderr.splitlines()
    assert talk.startswith("The Hub at http://127.0.0.1:9 cannot be reached (Connection refused)")
    assert error.startswith("Error: ")
    assert "cannot be asked" in error
    assert "it cannot be reached (Connection refused)" in error
    assert not re.search("HF_HUB_OFFLINE|offline|internet", error, re.IGNORECASE)


@pytest.mark.long
def test_an_embedder_that_the_hub_lacks_is_told_with_its_setting(hub_env: dict[str, str], tmp_path: Path) -> None:
    command = ["build-dataset", "--similarity-model", "nobody/nothing", "--source", "testbed"]
    done = mmpref(*command, cwd=tmp_path, env=hub_env)
    assert done.returncode == 1
    assert "Cannot load the similarity model nobody/nothing: 404" in done.stderr
    assert " --similarity-model=NAME-OR-FOLDER names another." in done.stderr


@pytest.mark.long
def test_a_hub_that_answers_is_asked(hub_env: dict[str, str], tmp_path: Path) -> None:
    done = mmpref("build-dataset", "--model", "nobody/nothing", "--source", "testbed", cwd=tmp_path, env=hub_env)
    assert done.returncode == 1
    begun, line = done.stderr.splitlines()
    assert begun == "Making pairs by bdhs of testbed with nobody/nothing."
    assert line.startswith("Error: Cannot load the model nobody/nothing")


def test_recipes_and_tables_are_listed(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(mmpref("list", "recipes", "--json", cwd=tmp_path).stdout)}
    assert rows["testbed"]["commands"] == ["build-dataset", "train", "iterate", "evaluate"]
    assert (rows["testbed"]["needs"], rows["paper"]["needs"]) == ([], ["--model", "--source"])
    shown = mmpref("list", "datasets", cwd=tmp_path).stdout
    assert "Tables that --source takes: testbed, testbed-amber, testbed-chair, testbed-gqa," in shown
    assert "PAPER" not in shown
    assert isinstance(json.loads(mmpref("list", "datasets", "--json", cwd=tmp_path).stdout), list)


def test_text_stands_left_numbers_right_and_neither_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    rows = [
        ("pope accuracy random", "0.889 [0.864, 0.911]", "-0.1 [-0.2, 0.0]", "yes"),
        ("pope f1", "1", "2", "[red]" + "word " * 20),
    ]
    print_table("title", ("metric", "base", "change", "what"), rows)
    _, head, first, second, *_ = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert first.startswith("pope accuracy random  0.889 [0.864, 0.911]  -0.1 [-0.2, 0.0]  yes")
    assert head.index("what") == first.index("yes") == second.index("[red]word")
    assert second[first.index("]  -")] == "1"


def test_a_file_of_reproduce_that_is_not_there_is_looked_for_as_one(said, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text("train: {}\n")
    assert said("reproduce", "mi.yaml") == (2, "Error: There is no file 'mi.yaml'. Did you mean 'my.yaml'?")
    assert said("reproduce", "studdy") == (2, "Error: There is no recipe or study 'studdy'. Did you mean 'study'?")
    assert said("train", "--recipe", "mi.yaml")[1].startswith("Error: There is no file 'mi.yaml'.")
