"""Each offline method trains, with the loss that its name stands for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mmpref.align.adapter import LoraSettings
from mmpref.align.method import METHODS
from mmpref.align.train import TrainRecipe, train
from mmpref.cli import common
from mmpref.errors import UsageError

from .conftest import MODEL

FIRST = {"dpo": math.log(2), "ipo": (1 / (2 * 0.9)) ** 2, "slic": 1.0}
"""The loss while the policy is still the reference, so that every log-ratio is 0."""


@pytest.mark.parametrize("method", FIRST)
def test_a_method_trains_from_its_own_loss_down(method: str, preferences: Path, tmp_path: Path) -> None:
    trainer = {"learning_rate": 1e-3, "max_steps": 6, "per_device_train_batch_size": 8}
    recipe = TrainRecipe(MODEL, (str(preferences),), method, lora=LoraSettings(4, 8), trainer=trainer)
    manifest = train(recipe, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[0] == pytest.approx(FIRST[method], rel=1e-4)
    assert losses[-1] < losses[0]
    assert manifest["method"] == method
    assert manifest["prompt_shared"]


@pytest.mark.parametrize("method", FIRST)
def test_a_beta_of_zero_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match="beta"):
        METHODS.get(method).settings(beta=0)


@pytest.mark.parametrize(("method", "beta"), [("dpo", 0.1), ("ipo", 0.9), ("slic", 0.1)])
def test_the_papers_recipe_leaves_each_method_its_own_beta(method: str, beta: float) -> None:
    recipe = common.resolve(TrainRecipe, "train", "paper", {"method": method, "model": "any"}, (), True)
    assert recipe.loss == {}
    assert METHODS.get(method).settings().beta == beta
