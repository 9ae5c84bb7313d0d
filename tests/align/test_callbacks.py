"""What is said before the first step."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, SequentialSampler

from mmpref.align import trl_options
from mmpref.align.callbacks import StopCallback, rows_again, schedule_line
from mmpref.align.train import train
from mmpref.errors import UsageError

from .conftest import MODEL
from .test_train import recipe

DPO = {"loss_type": ["sigmoid"], "beta": 0.1}


@pytest.mark.parametrize(
    ("trainer", "processes", "projector", "line"),
    [
        (
            {"learning_rate": 5e-6, "per_device_train_batch_size": 4, "warmup_steps": 0.1},
            2,
            2e-6,
            "Global batch 8 = 2 processes x 4 rows x 1 accumulated; 50 steps, 5 of them warm-up; "
            "learning rate 5e-06, projector 2e-06.",
        ),
        (
            {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
            1,
            None,
            "Global batch 16 = 1 process x 2 rows x 8 accumulated; 50 steps, none of them warm-up; "
            "learning rate 0.001.",
        ),
    ],
)
def test_the_line_before_training(
    trainer: dict[str, float], processes: int, projector: float | None, line: str, tmp_path: Path
) -> None:
    options = trl_options.resolve(trainer, DPO, seed=0, dtype="float32", dropout=False)
    assert schedule_line(trl_options.config(options, tmp_path), 50, processes, projector) == line


def test_a_batch_of_rloo_counts_answers(tmp_path: Path) -> None:
    from mmpref.align.methods.rloo import METHOD, Settings

    trainer = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    given = METHOD.trainer(Settings("someone"))
    options = trl_options.resolve(trainer, given, seed=0, dtype="float32", dropout=False)
    assert schedule_line(trl_options.config(options, tmp_path, METHOD.config()), 50, 1, None).startswith(
        "Global batch 8 answers (2 rows x 4 samples) = 1 process x 4 answers x 2 accumulated; 50 steps"
    )


def batches_of(size: int, **options: Any) -> dict[str, Any]:
    return {"learning_rate": 1e-3, "max_steps": 1, "per_device_train_batch_size": size} | options


def test_a_batch_of_more_rows_than_there_are_is_told(
    preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mmpref")
    smaller = recipe(MODEL, str(preferences), limit=2, trainer=batches_of(2, gradient_accumulation_steps=1))
    train(smaller, tmp_path / "two")
    assert "Global batch 2 =" in caplog.text
    assert "the global batch is of" not in caplog.text
    train(recipe(MODEL, str(preferences), limit=2, trainer=batches_of(2)), tmp_path / "sixteen")
    told = "Warning: the global batch is of 16 rows, and there are 2 rows: an epoch is one step on all of them. Name a"
    assert told in caplog.text


@pytest.mark.parametrize("rows", [10, 12, 13, 3])
def test_rows_that_an_epoch_has_twice_in_several_processes(rows: int, tmp_path: Path) -> None:
    """As accelerate divides them."""
    options = trl_options.resolve({"per_device_train_batch_size": 2}, DPO, seed=0, dtype="float32", dropout=False)
    config = trl_options.config(options, tmp_path)
    batches = BatchSampler(SequentialSampler(range(rows)), 2, drop_last=False)
    taken = [row for number in range(2) for batch in BatchSamplerShard(batches, 2, number) for row in batch]
    assert rows_again(config, 2, rows) == len(taken) - rows
    assert rows_again(config, 1, rows) == 0


@pytest.mark.parametrize("max_steps", [1, -1])
def test_a_batch_that_no_step_can_be_made_of_is_refused(preferences: Path, tmp_path: Path, max_steps: int) -> None:
    trainer = batches_of(4, dataloader_drop_last=True, gradient_accumulation_steps=1, max_steps=max_steps)
    with pytest.raises(
        UsageError, match=r"no step: one takes 4 rows, .* there are 2 rows\. Name a smaller --batch-size"
    ):
        train(recipe(MODEL, str(preferences), limit=2, trainer=trainer), tmp_path / "run")


def test_a_second_signal_is_handed_to_whoever_handled_it_before() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    stop = StopCallback()

    def interrupted_twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        assert came == []
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        with pytest.raises(KeyboardInterrupt), stop.handling_signals():
            interrupted_twice()
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
