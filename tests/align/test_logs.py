"""What a step says of itself beside TRL's own metrics, against the same from plain logits."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from mmpref.align import adapter
from mmpref.align.accuracy import ranked_right
from mmpref.align.plot import plot
from mmpref.align.preference_data import Pairs
from mmpref.align.train import train
from mmpref.align.trainer import PreferenceTrainer
from mmpref.data.policy_margins import score_pairs
from mmpref.tables.open import open_table
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import tiny

from .test_families import made
from .test_online import AVERAGED, recipe
from .test_trainer import load, make, pairs

__all__ = ["pairs"]


def summed(trainer: PreferenceTrainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities [2B] of the answers, from logits, in float64."""
    said = adapter.logits(trainer.model, batch)[:, :-1].double().log_softmax(-1)
    said = said.gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    return (said * batch["completion_mask"][:, 1:]).sum(1)


def test_the_divergence_from_the_base_and_the_lengths_of_answers(pairs: Pairs, tmp_path: Path) -> None:
    trainer = make(load(), pairs, tmp_path)
    batch = trainer.data_collator([pairs.dataset[index] for index in range(4)])
    trainer.model.train()
    trainer.compute_loss(trainer.model, dict(batch))
    assert trainer._metrics["train"]["kl/chosen"] == trainer._metrics["train"]["kl/rejected"] == [0.0]
    assert trainer._metrics["train"]["rewards/accuracies"] == [0.5], "all pairs are ties before the first update"
    with torch.no_grad():
        for name, value in trainer.model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.5)
    trainer._metrics["train"].clear()
    trainer.compute_loss(trainer.model, dict(batch))
    policy = summed(trainer, batch)
    with trainer.model.disable_adapter():
        base = summed(trainer, batch)
    lengths = batch["completion_mask"].sum(1)
    ratio = (policy - base) / lengths
    divergence = torch.expm1(-ratio) + ratio
    assert divergence.min() > 1e-4
    # The two sums of log-probabilities are nearly equal, and in float32 each is off by some units of its last place.
    off = 8 * torch.finfo(torch.float32).eps * torch.maximum(policy.abs(), base.abs()) / lengths
    tolerance = (torch.expm1(-ratio).abs() * off).chunk(2)
    for number, name in enumerate(("chosen", "rejected")):
        logged = {key: trainer._metrics["train"][f"{key}/{name}"][0] for key in ("kl", "lengths")}
        expected = float(divergence.chunk(2)[number].mean())
        assert logged["kl"] == pytest.approx(expected, rel=1e-5, abs=float(tolerance[number].mean()))
        assert logged["lengths"] == pytest.approx(float(lengths.chunk(2)[number].float().mean()))


def test_a_tie_is_half_right() -> None:
    chosen, rejected = torch.tensor([2.0, 1.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, 2.0, -1.0])
    assert ranked_right(chosen, rejected).tolist() == [1.0, 0.5, 0.0, 0.5]


@pytest.mark.usefixtures("pictures")
def test_a_run_logs_them_beside_trls_entropy(preferences: Path, tmp_path: Path) -> None:
    manifest = train(recipe("povid", preferences, loss=AVERAGED["povid"]), tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    for row in rows:
        assert row["entropy"] > 0
        assert min(row["lengths/chosen"], row["lengths/rejected"]) > 1
    assert rows[0]["kl/rejected"] < 1e-7 < rows[-1]["kl/rejected"]
    last = rows[-manifest["final_over"]["rows"] :]
    weighed = sum(row["kl/rejected"] * row["pairs"] for row in last) / manifest["final_over"]["pairs"]
    assert manifest["final"]["rejected_kl"] == pytest.approx(weighed)
    plot([{"step": row["step"]} for row in rows], tmp_path / "empty.png")
    assert (tmp_path / "run" / "training.png").read_bytes() != (tmp_path / "empty.png").read_bytes()


def same_before_training(policy: Policy, data: Path, folder: Path) -> None:
    """What `inspect --model` says of the first four rows, and what the first step on them logs."""
    table = open_table(str(data))
    found = score_pairs(policy, replace(table, rows=lambda: islice(table.rows(), 4)))
    trainer = made(policy, data, folder)
    assert isinstance(trainer, PreferenceTrainer)
    with torch.no_grad():
        trainer.compute_loss(trainer.model, trainer.collate(list(trainer.train_dataset)))
    logged = {name: value[0] for name, value in trainer._metrics["train"].items()}
    assert found["rows"] == len(trainer.train_dataset) == 4
    assert found["margin"]["mean"] == pytest.approx(logged["logps/chosen"] - logged["logps/rejected"], abs=2e-3)


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "smolvlm", "gemma3", "paligemma"])
def test_inspect_counts_the_tokens_that_training_counts(name: str, preferences: Path, tmp_path: Path) -> None:
    """Formats differ in what they put behind an answer."""
    same_before_training(tiny(name), preferences, tmp_path)


def test_and_those_of_what_continues_a_context(contexts: Path, tmp_path: Path) -> None:
    same_before_training(load(), contexts, tmp_path)
