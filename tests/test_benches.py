"""The benches run where they are told to, in the numbers that they are told, and say what a GPU's user asks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forked

SCRIPTS = Path(__file__).parents[1] / "scripts"


def bench(name: str, *options: str) -> dict[str, Any]:
    done = forked.script(SCRIPTS / f"{name}.py", *options, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "rates", "agreement"),
    [
        ("bench_bdhs", ("pairs_an_hour", "naive_pairs_an_hour"), "agreement"),
        (
            "bench_dpo",
            ("steps_a_second_shared", "steps_a_second_trl", "steps_a_second_trl_checkpointing"),
            "loss_difference",
        ),
        ("bench_eval", ("questions_a_second_base", "questions_a_second_both_generate"), "agreement_base"),
    ],
)
def test_a_bench_takes_device_and_dtype_and_tells_rates(name: str, rates: tuple[str, ...], agreement: str) -> None:
    found = bench(name, "--device", "cpu", "--dtype", "bfloat16", "--shape", "tiny", "--rounds", "1")
    assert all(found[rate] > 0 for rate in rates)
    # Only elsewhere than in fp32 on a CPU equal work may end otherwise, and how far is told.
    if agreement == "loss_difference":
        assert found[agreement] < 0.1
    else:
        assert 0.9 < found[agreement] <= 1


@pytest.mark.long
def test_the_process_that_drives_the_model_does_little_for_an_image() -> None:
    """Nothing is decoded there again. How many images a worker prepares a second, the bench says on a quiet machine."""
    # In a Python of its own, as it counts what its own children take.
    command = [sys.executable, str(SCRIPTS / "bench_feeder.py"), "--images", "24", "--workers", "1", "--json"]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    assert (found["llava-1.6"]["tiles"], found["llava-1.5"]["tiles"]) == (5, 1)
    for name in ("llava-1.6", "llava-1.5"):
        assert found[name]["parent_ms"] < 500 / found[name]["images_a_second_a_core"]


@pytest.mark.long
def test_arms_of_a_training_step_have_the_loss_of_an_adapter_that_does_something(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_dpo  # type: ignore[import-not-found]
    from bench_models import Setting  # type: ignore[import-not-found]

    compared: list[float] = []
    compare = bench_dpo._compare

    def see(found: dict[str, list[float]], losses: dict[str, float], setting: Any) -> None:
        compared.extend(losses.values())
        compare(found, losses, setting)

    monkeypatch.setattr(bench_dpo, "_compare", see)
    bench_dpo.speed_ups(1, tmp_path, Setting(shape="tiny"))
    assert len(compared) == 2 * (1 + len(bench_dpo.KNOWN)), "of all arms, with and without checkpointing"
    assert min(abs(loss - math.log(2)) for loss in compared) > 0.1, "log 2 is what an adapter of zeros has"
