"""The shipped FSDP2 configuration, on two CPU processes: it trains what one process does, and resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from mmpref.align.recipe import TrainRecipe, WatchSettings
from mmpref.align.train import train
from mmpref.errors import UsageError
from tests import forked
from tests.launch import ENVIRONMENT, run

from .conftest import MODEL
from .test_processes import assert_equal_weights, divided, rows, training

pytestmark = pytest.mark.long
STEPS = 8
MORE = ["--set", f"trainer.max_steps={STEPS}"]
"""More than one epoch, so that what the reference says is known of some rows, and in one process of others."""


def launched(data: Path, output: Path, folder: Path, method: str = "dpo", *more: str, **changes: Any) -> list[str]:
    return divided("fsdp2", data, output, folder, method, *MORE, *more, **changes)


def start(words: list[str]) -> forked.Forked:
    """What a launcher's command starts, with the variables that the launcher gives it, without its seconds."""
    asked, *_ = _validate_launch_command(launch_command_parser().parse_args(words[3:]))
    variables = {**prepare_multi_gpu_env(asked), **ENVIRONMENT}
    return forked.Forked("tests.align.fsdp2:run", [asked.training_script_args], 2, environment=variables)


def finish(words: list[str]) -> None:
    done = start(words).end()
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("method", ["dpo", "mdpo"])
def test_two_processes_of_half_a_model_train_what_one_does(method: str, preferences: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    forked.run(training(preferences, one, 4, method, *MORE))
    # By the launcher itself; of other methods, without its seconds.
    (run if method == "dpo" else finish)(launched(preferences, two, tmp_path, method))
    for alone, together in zip(rows(one), rows(two), strict=True):
        assert together.keys() == alone.keys()
        assert together["loss"] == pytest.approx(alone["loss"], abs=1e-4)
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
    assert_equal_weights(two, one)
    manifests = [json.loads((path / "run.json").read_text()) for path in (one, two)]
    assert manifests[0]["parameters"] == manifests[1]["parameters"]
    assert manifests[1]["probe"]["differs"] <= 1e-4 < manifests[1]["probe"]["changes"]


def test_in_mixed_precision_it_is_saved_as_it_was_trained(preferences: Path, tmp_path: Path) -> None:
    half = [
        "--set",
        "trainer.bf16=true",
        "--set",
        "dtype=bfloat16",
        "--set",
        "preflight=always",
        "--set",
        "trainer.learning_rate=1e-3",
        "--set",
        "projector_learning_rate=1e-3",
    ]
    finish(launched(preferences, tmp_path / "run", tmp_path, "dpo", *half, mixed_precision="bf16"))
    probe = json.loads((tmp_path / "run" / "run.json").read_text())["probe"]
    assert probe["differs"] <= probe["tolerance"] < probe["changes"]


def test_after_a_kill_it_goes_on_where_it_was(preferences: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(launched(preferences, whole, tmp_path))
    checkpoint = cut / ".mmpref/training/checkpoints/checkpoint-4/complete.json"
    start(launched(preferences, cut, tmp_path)).kill_once(cut, checkpoint.is_file)
    finish(launched(preferences, cut, tmp_path))
    assert (cut / "adapter_model.safetensors").read_bytes() == (whole / "adapter_model.safetensors").read_bytes()
    assert rows(cut) == rows(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "online-bdhs"}, "writes answers with the whole model"),
        ({"method": "reward-model"}, "asks the whole model"),
        ({"watch": WatchSettings(("pope",))}, "Benchmarks while training ask the whole model"),
    ],
)
def test_what_needs_the_whole_model_is_refused(
    changes: dict[str, Any], message: str, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match=message):
        train(TrainRecipe(MODEL, (str(preferences),), **changes), tmp_path / "run", evaluate=lambda _: {})
