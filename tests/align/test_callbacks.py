"""What is said before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.align import trl_options
from mmpref.align.callbacks import schedule_line

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
