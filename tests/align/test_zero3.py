"""The shipped ZeRO-3 configuration, on two CPU processes: it trains what one process does, and resumes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.launch import ENVIRONMENT, kill_once, run

from .test_processes import assert_equal_weights, divided, rows, training

pytestmark = pytest.mark.long
pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install deepspeed ninja, with a C++ compiler")

STEPS = 8
MORE = ["--set", f"trainer.max_steps={STEPS}"]


def launched(data: Path, output: Path, folder: Path, method: str = "dpo", *more: str, **changes: Any) -> list[str]:
    return divided("zero3", data, output, folder, method, *MORE, *more, **changes)


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed looks for accelerators by itself."""
    monkeypatch.setitem(ENVIRONMENT, "DS_ACCELERATOR", "cpu")


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpo", ()),
        ("mdpo", ()),
        (
            "dpo",
            (
                "--set",
                "trainer.gradient_accumulation_steps=2",
                "--set",
                "trainer.gradient_checkpointing=true",
                "--set",
                "preflight=always",
            ),
        ),
    ],
)
def test_two_processes_of_half_a_model_train_what_one_does(
    method: str, more: tuple[str, ...], preferences: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    forked.run(training(preferences, one, 4, method, *MORE, *more))
    run(launched(preferences, two, tmp_path, method, *more))
    for alone, together in zip(rows(one), rows(two), strict=True):
        assert together.keys() == alone.keys()
        assert together["loss"] == pytest.approx(alone["loss"], abs=1e-4)
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
    assert_equal_weights(two, one)
    manifests = [json.loads((path / "run.json").read_text()) for path in (one, two)]
    assert manifests[0]["parameters"] == manifests[1]["parameters"]
    assert manifests[1]["probe"]["differs"] <= 1e-4 < manifests[1]["probe"]["changes"]


def test_in_half_precision_it_is_saved_as_it_was_trained(preferences: Path, tmp_path: Path) -> None:
    half = [
        "--set",
        "trainer.bf16=true",
        "--set",
        "dtype=bfloat16",
        "--set",
        "trainer.learning_rate=1e-3",
        "--set",
        "projector_learning_rate=1e-3",
    ]
    run(launched(preferences, tmp_path / "run", tmp_path, "dpo", *half, mixed_precision="bf16"))
    probe = json.loads((tmp_path / "run" / "run.json").read_text())["probe"]
    assert probe["differs"] <= probe["tolerance"] < probe["changes"]


@pytest.mark.parametrize("step", [4, STEPS])
def test_after_a_kill_it_goes_on_where_it_was(step: int, preferences: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(launched(preferences, whole, tmp_path))
    checkpoint = cut / f".mmpref/training/checkpoints/checkpoint-{step}/complete.json"
    kill_once(launched(preferences, cut, tmp_path), cut, checkpoint.is_file)
    parts = [path.name[: len("zero_pp_rank_0")] for path in checkpoint.parent.glob("global_step*/*model_states.pt")]
    assert sorted(parts) == ["zero_pp_rank_0", "zero_pp_rank_1"], "each has its part of the model"
    run(launched(preferences, cut, tmp_path))
    assert (cut / "adapter_model.safetensors").read_bytes() == (whole / "adapter_model.safetensors").read_bytes()
    assert rows(cut) == rows(whole)


def test_on_a_cpu_accelerate_would_leave_it_out(preferences: Path, tmp_path: Path) -> None:
    words = launched(preferences, tmp_path / "run", tmp_path)
    words[words.index("tests.align.zero3")] = "mmpref"
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert "accelerate does not take DeepSpeed to a CPU" in done.stderr
    assert not (tmp_path / "run" / "log.jsonl").exists()
