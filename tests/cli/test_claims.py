"""A command that failed before it made anything leaves no directory that refuses the corrected command."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.cli.main import program
from mmpref.errors import MmprefError, RunError, UsageError
from tests.align.conftest import preferences

__all__ = ["preferences"]  # the fixture

COMMANDS = ("build-dataset", "train", "evaluate")


@pytest.fixture
def mistaken(preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(command: str, *options: str, output: str = "out") -> MmprefError:
        own = ("--dataset", str(preferences)) if command == "train" else ("--limit", "2")
        with pytest.raises(MmprefError) as told:
            program.main([command, "--recipe", "testbed", *own, "--output", output, *options], standalone_mode=False)
        return told.value

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_model_claims_nothing(mistaken, command: str) -> None:
    mistaken(command, "--model", "/nowhere")
    assert not Path("out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_dtype_is_wrong_usage(mistaken, command: str) -> None:
    error = mistaken(command, "--set", "dtype=flot32")
    assert isinstance(error, UsageError)
    assert "one of auto, float32, bfloat16, float16" in str(error)
    assert not Path("out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_is_told(mistaken, command: str) -> None:
    Path("file").touch()
    for output in ("file", "file/out", "/proc/out"):
        error = mistaken(command, output=output)
        assert isinstance(error, RunError)
        assert error.hint == "Choose another --output."


def test_what_trl_refuses_claims_nothing(mistaken) -> None:
    mistaken("train", "--set", "trainer.loss_type=no_such_loss")
    assert not Path("out").exists()


def test_settings_that_cannot_be_claim_nothing(mistaken) -> None:
    for wrong in ("iterations=0", "batch_size=0", "temperature=-1", "rho_th=1.5", "top_p=0", "max_tail_tokens=0"):
        assert isinstance(mistaken("build-dataset", "--set", f"builder.{wrong}"), UsageError), wrong
    assert isinstance(mistaken("evaluate", "--set", "benchmark.pope.max_new_tokens=0"), UsageError)
    assert not Path("out").exists()


def test_a_recipe_file_that_is_none(mistaken) -> None:
    Path("mine.yaml").write_text("build-dataset: 5\n")
    assert "must be a mapping" in str(mistaken("build-dataset", "--recipe", "mine.yaml"))
