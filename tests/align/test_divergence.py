"""A loss that ends far above where it began is told; noise, and losses about zero, are not. A training whose loss,
gradient or weights are not finite ends, and leaves nothing."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from mmpref.align.callbacks import DivergenceCallback
from mmpref.align.divergence import divergence_remark, first_loss
from mmpref.align.summary import remarks_on
from mmpref.align.train import train
from mmpref.errors import RunError

from .conftest import MODEL
from .test_train import TRAINER, recipe


@pytest.mark.parametrize(
    ("first", "final", "told"),
    [
        (0.693, 1.84, True),
        (0.693, 1.154, True),
        (0.693, 1.0, False),
        (0.693, 0.2, False),
        (25.0, 400.0, True),  # IPO's at a beta of 0.1
        (0.001, 0.4, False),  # a policy gradient's
        (-0.2, 0.4, False),
        (None, 1.0, False),
        (0.693, None, False),
    ],
)
def test_a_loss_that_ends_far_above_its_beginning_is_told(first: float | None, final: float | None, told: bool) -> None:
    remark = divergence_remark(first, final)
    assert (remark is not None) == told
    remarks = remarks_on({} if final is None else {"loss": final}, first_loss=first)
    assert remarks == ([remark] if remark else [])
    if told:
        assert remark
        assert f"ended at {final:.3g}, and began at {first:.3g}" in remark
        assert "--learning-rate" in remark


@pytest.mark.parametrize(
    ("loss", "accuracy", "said"),
    [
        (0.5, 0.9, ": the margin was won by pushing the rejected ones down further. Read"),
        (0.8, 0.286, ", and on most pairs no margin was won. Read"),
        (1.154, 0.286, ". Read"),
    ],
)
def test_a_training_that_diverged_won_no_margin(loss: float, accuracy: float, said: str) -> None:
    final = {"loss": loss, "accuracy": accuracy, "chosen_log_ratio": -3.0, "rejected_log_ratio": -5.0}
    remarks = remarks_on(final, first_loss=0.693)
    assert f"than under the base model{said}" in remarks[-1]
    assert ("diverged" in remarks[0]) == (loss > 1)


def test_where_every_pair_begins_alike_the_first_row_is_the_beginning() -> None:
    losses = [0.693, 40.0, *[2.0] * 18]
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    assert first_loss([row | {"logratios/chosen": 0.0} for row in rows]) == 0.693
    assert first_loss(rows) == pytest.approx((0.693 + 40) / 2)
    assert first_loss([]) is None


def test_a_beginning_of_several_steps_weighs_them_by_their_pairs() -> None:
    rows = [{"step": step, "loss": 1.0, "pairs": 8} for step in range(1, 21)]
    rows[1] |= {"loss": 3.0, "pairs": 2}
    assert first_loss(rows) == pytest.approx((8 * 1.0 + 2 * 3.0) / 10)


def test_a_loss_that_is_not_finite_is_an_error(preferences: Path, tmp_path: Path) -> None:
    wild = {**TRAINER, "learning_rate": 1e30, "logging_steps": 1, "save_steps": 1, "max_grad_norm": 0.0}
    with pytest.raises(RunError, match="Step 2: the loss is not finite: training diverged") as told:
        train(recipe(MODEL, str(preferences), trainer=wild), tmp_path / "run")
    assert "Lower --learning-rate=NUMBER (now 1e+30)" in told.value.hint
    with pytest.raises(RunError, match="Step 2: the loss is not finite"):
        train(recipe(MODEL, str(preferences), trainer=wild), tmp_path / "run")


@pytest.mark.parametrize("logging_steps", [1, 5])
def test_weights_that_are_not_finite_are_kept_nowhere(preferences: Path, tmp_path: Path, logging_steps: int) -> None:
    """Whether the log would show it by then or not: steps are saved, and logged, every few."""
    wild = {**TRAINER, "learning_rate": 1e39, "logging_steps": logging_steps, "save_steps": 1, "max_steps": 4}
    for _ in range(2):
        with pytest.raises(RunError, match="not finite: training diverged"):
            train(recipe(MODEL, str(preferences), trainer=wild), tmp_path / "run")
        assert not list(tmp_path.rglob("adapter_model.safetensors"))


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_ends_a_training_at_once_but_in_fp16(norm: float) -> None:
    state = TrainerState(global_step=2)
    full, half = (SimpleNamespace(fp16=fp16, learning_rate=1e3) for fp16 in (False, True))
    logs = {"loss": 0.5, "grad_norm": norm}
    with pytest.raises(RunError, match="Step 2: the gradient is not finite: training diverged") as told:
        DivergenceCallback().on_log(full, state, None, logs)
    assert "(now 1000)" in told.value.hint
    DivergenceCallback().on_log(half, state, None, logs)
    DivergenceCallback().on_log(full, state, None, {"loss": 0.5, "grad_norm": 1e9})
    with pytest.raises(RunError, match="the loss is not finite"):
        DivergenceCallback().on_log(half, state, None, {"loss": norm})
