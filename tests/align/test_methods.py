"""Each offline method trains, with the loss that its name stands for."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mmpref.align.adapter import kl_on_answers
from mmpref.align.log_means import final_metrics
from mmpref.align.method import METHODS
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.summary import remarks_on
from mmpref.align.train import train
from mmpref.align.trl_options import PAPER
from mmpref.cli.list import command as list_command
from mmpref.errors import InputError, UsageError
from mmpref.recipes.resolve import parse_set, resolve

from .conftest import MODEL
from .cut import whole_and_cut

FIRST = {"dpo": math.log(2), "ipo": (1 / (2 * 0.9)) ** 2, "slic": 1.0, "sft": None, "mpo": None}
"""The loss while the policy is still the reference: every log-ratio is 0. None where it depends on the model."""


@pytest.mark.parametrize("method", FIRST)
def test_a_method_trains_from_its_own_loss_down(method: str, preferences: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(MODEL, (str(preferences),), method, lora=LoraSettings(4, 8), limit=8, trainer=trainer)
    manifest = train(recipe, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert FIRST[method] is None or losses[0] == pytest.approx(FIRST[method], rel=1e-4)
    if method != "sft":  # which has little left to learn of answers that the model was trained on
        assert losses[-1] < losses[0]
    assert manifest["method"] == method
    assert manifest["prompt_shared"]


def test_avg_dpo_needs_two_rejected_answers_and_trains_on_both(
    doubly_rejected: Path, preferences: Path, tmp_path: Path
) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(MODEL, (str(doubly_rejected),), "avg-dpo", lora=LoraSettings(4, 8), trainer=trainer)
    manifest = train(recipe, tmp_path / "run")
    assert manifest["counts"]["skipped"]["no-second"] == 4
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4)
    assert losses[-1] < losses[0]
    with pytest.raises(InputError, match=r"lacks rejected_policy.*keep_rejected=true"):
        train(replace(recipe, dataset=(str(preferences),)), tmp_path / "other")
    with pytest.raises(UsageError, match="nothing would be averaged"):
        train(replace(recipe, loss={"gamma": 0}), tmp_path / "none")


@pytest.mark.long
@pytest.mark.parametrize("method", ["ipo", "mpo", "sft", "avg-dpo"])
def test_a_method_resumes_bit_for_bit(method: str, doubly_rejected: Path, tmp_path: Path) -> None:
    """One for each loss that keeps something between steps, or comes another way than DPO's, which resumes in other
    tests."""
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    recipe = TrainRecipe(MODEL, (str(doubly_rejected),), method, lora=LoraSettings(4, 8), trainer=trainer)
    whole, again = whole_and_cut(recipe, tmp_path)
    assert again["final"] == whole["final"]


@pytest.mark.parametrize(("kl", "told"), [(2e-5, True), (1e-3, False), (None, False)])
def test_an_adapter_that_barely_moved_is_told_in_words(kl: float | None, told: bool) -> None:
    remarks = remarks_on({"loss": 0.69}, kl)
    assert bool(remarks) == told
    assert all("barely moved: its KL divergence from the base is 2e-05 nats a token" in remark for remark in remarks)


@pytest.mark.parametrize(("rejected", "told"), [(-1.9, False), (-0.02, True)])
def test_one_pair_that_did_not_move_does_not_speak_for_all(rejected: float, told: bool) -> None:
    """Its divergence is measured after training, the log-ratios of all pairs while it went on."""
    final = {"loss": 0.6, "chosen_log_ratio": 0.01, "rejected_log_ratio": rejected}
    assert any("barely moved" in remark for remark in remarks_on(final, 4e-4)) == told


def test_numbers_of_before_the_only_update_are_told() -> None:
    remarks = remarks_on({"loss": 0.6931, "accuracy": 0.5, "margin": 0.0}, 0.5, only_step=True)
    assert remarks == [
        "What training logged is of its only step, before the update: it tells nothing of the adapter that came of it. "
        "More rows or more --epochs=NUMBER make more steps."
    ]
    assert remarks_on({"loss": 0.6931}, 0.5) == []


def test_the_divergence_is_of_the_answers_tokens_alone() -> None:
    base = torch.zeros(1, 4, 2)
    moved = base.clone()
    moved[0, 1] = torch.tensor([1.0, -1.0])  # predicts the third token
    mask = torch.tensor([[0, 0, 1, 1]])
    p = torch.tensor([1.0, -1.0]).softmax(-1)
    expected = float((p * (p / 0.5).log()).sum()) / 2  # over two tokens, one of which is as it was
    assert kl_on_answers(moved, base, mask) == pytest.approx(expected)
    assert kl_on_answers(moved, base, torch.tensor([[0, 0, 0, 1]])) == 0.0


@pytest.mark.parametrize(("fallen", "told"), [(-2.0, True), (2.0, False)])
def test_falling_chosen_answers_are_told_in_words(fallen: float, told: bool) -> None:
    """By log-ratios, whatever the method's reward is: SimPO's is below 0 from the first step on."""
    row = {
        "step": 1,
        "loss": 0.5,
        "rewards/accuracies": 1.0,
        "rewards/margins": 0.3,
        "rewards/chosen": -0.2,
        "rewards/rejected": -0.5,
        "logratios/chosen": fallen,
        "logratios/rejected": fallen - 3,
        "logps/chosen": -9.0,
        "logps/rejected": -12.0,
    }
    final = final_metrics([row])
    assert final["chosen_log_ratio"] == pytest.approx(fallen)
    assert bool(remarks_on(final)) == told
    rewards = {name: value for name, value in row.items() if not name.startswith("log")}
    assert remarks_on(final_metrics([rewards])) == [], "a reward model's rewards are no log-ratios"


@pytest.mark.parametrize("method", ["dpo", "ipo", "slic", "mpo"])
def test_a_beta_of_zero_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match="beta"):
        METHODS.get(method).settings(beta=0)


@pytest.mark.parametrize(("method", "beta"), [("dpo", 0.1), ("ipo", 0.9), ("slic", 0.1)])
def test_the_papers_recipe_leaves_each_method_its_own_beta(method: str, beta: float) -> None:
    recipe = resolve(TrainRecipe, "train", "paper", {"method": method, "model": "any"})
    assert recipe.loss == {}
    assert METHODS.get(method).settings().beta == beta


@pytest.mark.parametrize(
    ("method", "rates"), [("dpo", (1e-6, 2e-6)), ("reward-model", (2e-5, 2e-5)), ("rloo", (3e-4, 2e-5))]
)
def test_each_method_has_its_own_learning_rates(method: str, rates: tuple[float, float]) -> None:
    """They are used where nothing else is said, under the paper's recipe too, and are shown."""
    options = {"method": method, "model": "any"}
    plain = TrainRecipe("any", method=method)
    papers = resolve(TrainRecipe, "train", "paper", options)
    for recipe in (plain, papers, TrainRecipe("any", method=method, trainer={"max_steps": 2})):
        assert (recipe.trainer["learning_rate"], recipe.projector_learning_rate) == rates
    said = ("trainer.learning_rate=7e-6", "projector_learning_rate=3e-6")
    recipe = resolve(TrainRecipe, "train", "paper", options, parse_set(said))
    assert (recipe.trainer["learning_rate"], recipe.projector_learning_rate) == (7e-6, 3e-6)
    listed = json.loads(CliRunner().invoke(list_command, ["methods", "--json"], catch_exceptions=False).stdout)
    [defaults] = [row["defaults"] for row in listed if row["name"] == method]
    assert (defaults["trainer"]["learning_rate"], defaults["projector_learning_rate"]) == rates
    assert "loss" in defaults


def test_a_trainer_block_keeps_the_papers_values_where_it_names_none() -> None:
    """So it is from Python; a resolved recipe means what it says, and keeps its hash."""
    given = TrainRecipe("any", trainer={"max_steps": 10})
    assert given.trainer == {**PAPER, "learning_rate": 1e-6, "max_steps": 10}
    assert replace(given, seed=1).trainer == given.trainer
    assert TrainRecipe("any", trainer={"gradient_accumulation_steps": 1}).trainer["gradient_accumulation_steps"] == 1
    for name, options in (("plain", {"model": "any"}), ("testbed", {})):
        resolved = resolve(TrainRecipe, "train", name, options, {"trainer": {"max_steps": 10}})
        assert resolved.trainer["max_steps"] == 10
        assert "gradient_accumulation_steps" not in replace(resolved, seed=1).trainer
    assert resolve(TrainRecipe, "train", "plain", {"model": "any"}) == TrainRecipe("any")
