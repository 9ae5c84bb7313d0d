"""The program's contract: exit codes, one error line, JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import bare, forked


def mmpref(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return forked.mmpref(arguments, environment={**forked.ENVIRONMENT, **environment})


def mmpref_from_nothing(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mmpref", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_version_and_names() -> None:
    assert mmpref_from_nothing("--version").stdout.startswith("mmpref, version ")
    for what, name in (("methods", "dpo"), ("datasets", "bdhs"), ("benchmarks", "pope"), ("recipes", "testbed")):
        listed = mmpref("list", what, "--json")
        assert name in [row["name"] for row in json.loads(listed.stdout)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-command"], "No such command"),
        (["train", "--lr", "1e-5"], "No such option '--lr'. Did you mean '--learning-rate'?"),
        (["build-dataset", "--dataset-id=x"], "Did you mean '--source'?"),
        (["evaluate", "--out", "x"], "Did you mean '--output'?"),
        (["build-dataset", "--method", "bdsh"], "Did you mean 'bdhs'?"),
        (["build-dataset", "--set", "builder.rho=1"], "rho_th"),
        (["build-dataset", "--set", "nonsense"], "KEY=VALUE"),
        (["build-dataset", "--recipe", "testbd"], "Did you mean 'testbed'?"),
        (["build-dataset", "--shard", "2/2"], "I/N"),
        (["build-dataset", "--model", "x/y"], "lacks the setting 'source'"),
        (["evaluate", "--judge", "gpt"], "--judge has no use"),
        (["evaluate", "--set", "model=https://huggingface.co/a/b", "--benchmark", "pope"], "Give the id a/b."),
        (["train", "--model", "https://hf.co/a/b/tree/v1", "--dataset", "x"], "a/b, and v1 as its revision."),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], says: str) -> None:
    done = mmpref(*arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build-dataset", "--source", "./none.jsonl"], "no file or folder"),
        (["build-dataset", "--split", "nope"], "no split 'nope'"),
        (["compare", "none"], "not a run directory"),
        (["publish", "none", "--hub-model-id", "a/b"], "not a run directory"),
    ],
)
def test_failures_exit_1_with_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    output = ["--output", str(tmp_path / "out")] if arguments[0] == "build-dataset" else []
    done = mmpref(*arguments, *output)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "Cannot load the model"),
        ('{"model_type": "llama"}', "writes no text about images"),
        ('{"model_type": "mllama"}', "cross-attention"),
    ],
)
def test_models_that_cannot_be_used(config: str | None, says: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    if config:
        model.mkdir()
        (model / "config.json").write_text(config)
    # By the testbed's recipe, whose embedder is in the package: the paper's would be looked for on the Hub.
    options = ["--recipe", "testbed", "--limit", "2", "--output", str(tmp_path / "out")]
    done = mmpref("build-dataset", "--model", str(model), *options)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_that_came_of_ctrl_c_is_an_interruption() -> None:
    """torch's own stack of modes, for one, cannot be left where an interruption came while it was entered."""
    program = """
from mmpref.cli import main
from mmpref.errors import ModelError
def command(*_, **__):
    try:
        try:
            raise KeyboardInterrupt
        finally:
            [].pop()
    except IndexError as error:
        raise ModelError(f"Cannot load it: {error}") from None
main.program.main = command
main.main([])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == "Error: Interrupted. Finished work is kept: the same command goes on from there.\n"
    assert done.returncode == 130


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_error_in_the_place_of_the_interruption_is_one(name: str) -> None:
    """matplotlib's C++, for one, asks a transform for its extent and tells of an invalid bounding box if that fails."""
    program = f"""
import os, signal
import numpy as np
from matplotlib.path import Path
from matplotlib import _path
from mmpref.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests run
class Box:
    def __array__(self, *_, **__):
        os.kill(os.getpid(), signal.{name})
        return np.zeros((2, 2))
def command(*_, **__):
    _path.clip_path_to_rect(Path([[0, 0], [1, 1]]), Box(), True)
main.program.main = command
main.main([])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == "Error: Interrupted. Finished work is kept: the same command goes on from there.\n"
    assert done.returncode == 130


def test_errors_after_an_interruption_that_was_dealt_with_are_errors() -> None:
    program = """
import os, signal
from mmpref.cli import interruption, main
from mmpref.errors import HubError
def command(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        interruption.dealt_with()
    raise HubError("The state could not be kept.")
main.program.main = command
main.main([])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == "Error: The state could not be kept.\n"
    assert done.returncode == 1


def test_debug_brings_the_traceback_back() -> None:
    assert "Traceback" in mmpref("compare", "none", MMPREF_DEBUG="1").stderr


def test_the_end_of_a_command_looks_for_no_garbage() -> None:
    count = "atexit.register(lambda: print(gc.get_freeze_count()))"  # registered first, it is called last
    code = f"import atexit, gc; from mmpref.cli.main import main; {count}; main(['--version'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) > 0


def test_a_push_without_a_token_is_refused_before_the_work(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_TOKEN": "", "HF_HOME": str(tmp_path / "home")}
    done = bare.mmpref(["build-dataset", "--push", "--output", tmp_path / "out"], environment)
    assert done.returncode == 1
    assert "token" in done.stderr
    assert not (tmp_path / "out").exists()
