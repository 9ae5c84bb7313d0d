"""Two processes against one at the same global batch: the same losses and weights, and the same after a kill."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from mmpref.cli.list import _launchers
from tests import forked

STEPS = 6
COMMON = ["--set", f"trainer.max_steps={STEPS}", "--set", "trainer.save_steps=2", "--set", "trainer.logging_steps=1"]


def training(data: Path, output: Path, batch: int, method: str = "dpo", *more: str) -> list[str]:
    return [
        "train",
        "--dataset",
        str(data),
        "--output",
        str(output),
        "--method",
        method,
        "--set",
        f"trainer.per_device_train_batch_size={batch}",
        *COMMON,
        *more,
    ]


def divided(
    name: str, data: Path, output: Path, folder: Path, method: str = "dpo", *more: str, **changes: Any
) -> list[str]:
    """The command for two processes of half a batch each, under a shipped configuration; its module in `tests.align`
    lets it run on a CPU."""
    [shipped] = [Path(row["path"]) for row in _launchers() if row["name"] == name]
    config = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    config |= {"num_processes": 2, "use_cpu": True, "mixed_precision": "no", **changes}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(folder / f"{name}.yaml"),
        "--main_process_port",
        "0",
        "-m",
        f"tests.align.{name}",
        *training(data, output, 2, method, *more),
    ]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "adapter_model.safetensors")


LONG = pytest.mark.long


@LONG
@pytest.mark.parametrize("method", ["dpo", "online-bdhs", "mdpo"])
def test_two_processes_train_what_one_does(method: str, preferences: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    forked.run(training(preferences, one, 4, method))
    done = forked.run(training(preferences, two, 2, method), 2)
    assert done.stdout.count("means over") == 1, "one process speaks"
    manifests = [json.loads((path / "run.json").read_text()) for path in (one, two)]
    assert [manifest["processes"] for manifest in manifests] == [1, 2]
    assert [row["step"] for row in rows(two)] == list(range(1, STEPS + 1))
    for alone, together in zip(rows(one), rows(two), strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
        assert [together[name] for name in ("pairs", "num_tokens")] == [alone[name] for name in ("pairs", "num_tokens")]
    assert_equal_weights(two, one)


def assert_equal_weights(run: Path, other: Path) -> None:
    """Near as a whole: Adam gives a weight whose gradient is all but 0 a step of either sign."""
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        apart = torch.linalg.vector_norm(ours[name] - expected) / torch.linalg.vector_norm(expected)
        assert apart < 2e-3, (name, apart.item())


def decides_on_half(images: list[Image.Image], prompt: str, first: str, second: str) -> int:
    """An annotator: half of all images have no better answer, and so leave their batches."""
    return 0 if hashlib.sha256(images[0].tobytes()).digest()[0] % 2 else 1 if first < second else 2


@LONG
@pytest.mark.parametrize(("batch", "accumulated"), [(1, 1), (2, 1), (1, 3)])
def test_pairs_weigh_the_same_wherever_they_fall(
    batch: int, accumulated: int, preferences: Path, tmp_path: Path
) -> None:
    """Two processes of which one has fewer pairs than the other, or none, against one process with all of them."""
    one, two = tmp_path / "one", tmp_path / "two"
    more = [
        "--annotator",
        "tests.align.test_processes:decides_on_half",
        "--set",
        "loss.temperature=1.5",
        "--set",
        "loss.max_answer_tokens=48",
        "--set",
        f"trainer.gradient_accumulation_steps={accumulated}",
        "--set",
        "trainer.learning_rate=1e-3",
    ]
    forked.run(training(preferences, one, 2 * batch, "online-dpo", *more))
    forked.run(training(preferences, two, batch, "online-dpo", *more), 2)
    used = {row["pairs/used"] for row in rows(one)}
    assert used & {1, 3, 1 / 3, 2 / 3}, "one process always had as many pairs as the other"
    for alone, together in zip(rows(one), rows(two), strict=True):
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            assert together[name] == pytest.approx(value, rel=1e-3, abs=1e-5), (name, alone["step"])
    drawn = [json.loads((path / "run.json").read_text())["drawn"] for path in (one, two)]
    assert drawn[0] == drawn[1]
    assert_equal_weights(two, one)


@LONG
def test_two_processes_that_accumulate_train_what_one_batch_does(preferences: Path, tmp_path: Path) -> None:
    """Four rows a step in four parts of one, of which about half have a pair, against all of them at once."""
    one, two = tmp_path / "one", tmp_path / "two"
    more = [
        "--annotator",
        "tests.align.test_processes:decides_on_half",
        "--set",
        "loss.temperature=1.5",
        "--set",
        "loss.max_answer_tokens=48",
        "--set",
        "trainer.learning_rate=1e-3",
    ]
    forked.run(training(preferences, one, 4, "online-dpo", *more))
    more += ["--set", "trainer.gradient_accumulation_steps=2"]
    forked.run(training(preferences, two, 1, "online-dpo", *more), 2)
    assert {row["pairs/used"] for row in rows(one)} - {0, 4}, "no step had an uneven share of pairs"
    for alone, together in zip(rows(one), rows(two), strict=True):
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            parts = 2 if name.startswith("pairs/") else 1
            assert parts * together[name] == pytest.approx(value, rel=1e-3, abs=1e-5), (name, alone["step"])
    assert_equal_weights(two, one)


@LONG
def test_the_last_row_is_of_all_processes_whatever_the_steps_of_the_log(preferences: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    every = ["--set", "trainer.logging_steps=4"]
    forked.run(training(preferences, one, 4, "dpo", *every))
    forked.run(training(preferences, two, 2, "dpo", *every), 2)
    assert [row["step"] for row in rows(two)] == [4, STEPS]
    for alone, together in zip(rows(one), rows(two), strict=True):
        assert [together[name] for name in ("pairs", "num_tokens")] == [alone[name] for name in ("pairs", "num_tokens")]
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)


@LONG
def test_two_killed_processes_go_on_where_they_were(preferences: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    forked.run(training(preferences, whole, 2), 2)
    checkpoint = cut / ".mmpref/training/checkpoints/checkpoint-2/complete.json"
    forked.start(training(preferences, cut, 2), 2).kill_once(cut, checkpoint.is_file)
    forked.run(training(preferences, cut, 2), 2)
    assert (cut / "adapter_model.safetensors").read_bytes() == (whole / "adapter_model.safetensors").read_bytes()
    assert [row["loss"] for row in rows(cut)] == [row["loss"] for row in rows(whole)]


def test_the_shipped_configurations_are_accelerates(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = {row["name"]: Path(row["path"]) for row in _launchers()}
    assert set(found) == {"ddp", "fsdp2", "zero3"}
    for name, path in found.items():
        config = load_config_from_file(str(path))
        assert config.mixed_precision == "bf16"
        assert (
            yaml.safe_load(path.read_text())["distributed_type"]
            == {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}[name]
        )
