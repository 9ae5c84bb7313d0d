"""Training that goes on from an adapter: the reference is the policy as it began, and nothing is lost in a restart."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from trl import DPOTrainer

from mmpref.align import trl_options
from mmpref.align.adapter import logits_from, lora_config
from mmpref.align.begun import began_facts, refuse_other_shape
from mmpref.align.collator import PreferenceCollator
from mmpref.align.preference_data import ROW
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.reference_cache import ReferenceLogProbCache
from mmpref.align.train import train
from mmpref.align.trainer import PreferenceTrainer
from mmpref.errors import ModelError, RunError, UsageError
from mmpref.origins.revisions import training_images_of
from mmpref.run.training_images import write_training_images
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.tiny import tiny

from .conftest import MODEL
from .cut import whole_and_cut
from .test_sharing import SIGMOID, assert_equal, make, rows, step


def an_adapter(folder: Path) -> Path:
    """Of the tiny model: LoRA and the projector, both changed."""
    trainer = make(DPOTrainer, tiny("llava_next"), folder / "first", False)
    moved(trainer.model, 5)
    trainer.model.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    return folder / "adapter"


def moved(model: Any, seed: int) -> None:
    """Change what is trained a little, by the same numbers whatever the trainer."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.named_parameters()):
        if value.requires_grad and ".ref." not in name:
            value.data.add_(0.02 * torch.randn(value.shape, generator=generator))


def config(folder: Path, **loss: float) -> Any:
    used = trl_options.resolve(
        {"per_device_train_batch_size": 3, "gradient_checkpointing": False},
        {**SIGMOID, **loss},
        seed=3,
        dtype="float32",
        dropout=False,
    )
    return trl_options.config(used, folder)


@pytest.mark.parametrize(("share", "loss"), [(False, {}), (True, {}), (True, {"ld_alpha": 0.5})])
def test_a_step_is_that_of_trls_trainer_on_the_adapted_model(
    share: bool, loss: dict[str, float], tmp_path: Path
) -> None:
    """TRL keeps a second adapter as the reference; here it is a copy of the weights, in their place."""
    adapter = an_adapter(tmp_path)
    base = tiny("llava_next")
    theirs = DPOTrainer(
        model=PeftModel.from_pretrained(base.model, str(adapter), is_trainable=True),
        args=config(tmp_path / "a", **loss),
        train_dataset=Dataset.from_list(rows()),
        processing_class=base.processor,
    )
    moved(theirs.model, 7)
    expected = step(theirs, theirs.data_collator(rows()))
    policy = tiny("llava_next")
    ours = PreferenceTrainer(
        model=policy.model,
        args=config(tmp_path / "b", **loss),
        train_dataset=Dataset.from_list(rows()),
        processing_class=policy.processor,
        peft_config=lora_config(policy, LoraSettings(4, 8), True),
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy) if share else None,
        reference=ReferenceLogProbCache(tmp_path / "reference.f32", 3),
        begin=(str(adapter), None),
    )
    moved(ours.model, 7)
    batch = ours.data_collator([{**row, ROW: number} for number, row in enumerate(rows())])
    assert_equal(step(ours, batch), expected)
    assert_equal(step(ours, batch), expected)  # with the reference's log-probabilities out of the file
    against_base = make(DPOTrainer, tiny("llava_next"), tmp_path / "c", False)
    against_base.model.load_state_dict(ours.model.state_dict(), strict=False)
    assert step(against_base, against_base.data_collator(rows()))[0] != pytest.approx(expected[0], rel=1e-3)


RECIPE = TrainRecipe(
    MODEL,
    lora=LoraSettings(4, 8),
    projector_learning_rate=1e-2,
    trainer={
        "max_steps": 4,
        "learning_rate": 1e-2,
        "save_steps": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
    },
)


@pytest.fixture(scope="module")
def first(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun") / "first"
    train(replace(RECIPE, dataset=(str(preferences),)), folder)
    return folder


def test_it_begins_as_its_reference_and_survives_a_restart(first: Path, preferences: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, dataset=(str(preferences),), adapter=str(first))
    images = training_images_of(str(first), None)
    write_training_images(first, [*images, "of-another-training"])
    whole, again = whole_and_cut(recipe, tmp_path, 4)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5), "policy and reference are the adapter"
    assert losses[1] != pytest.approx(math.log(2), abs=1e-5)
    assert again["final"] == whole["final"]
    assert whole["began"]["id"] == str(first)
    assert whole["earlier_datasets"] == json.loads((first / "run.json").read_text())["datasets"]
    assert training_images_of(str(tmp_path / "whole"), None) == {*images, "of-another-training"}
    assert whole["probe"]["kl"] > whole["probe"]["kl_from_began"] > 0
    assert not whole["remarks"] or "barely" not in whole["remarks"][0]
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in (first, tmp_path / "whole")]
    assert weights[0] != weights[1]


def test_an_adapter_that_was_cut_since_costs_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapter = an_adapter(tmp_path)
    adapted = PeftModel.from_pretrained(tiny("llava_next").base_model, adapter)
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with caplog.at_level("WARNING", "mmpref"):
        assert logits_from(adapted, (str(adapter), None), {}) is None
    assert f"how far {adapter} was moved could not be measured" in caplog.text


def test_what_was_learned_is_measured_from_where_it_began(first: Path, preferences: Path, tmp_path: Path) -> None:
    """The adapter that it begins from has moved the base already."""
    begun = replace(RECIPE, dataset=(str(preferences),), adapter=str(first))
    still = {**RECIPE.trainer, "learning_rate": 0.0, "max_steps": 1}
    with pytest.raises(RunError, match=r"does not change the logits of .*first: nothing was learned"):
        train(replace(begun, trainer=still, projector_learning_rate=0.0), tmp_path / "still")
    slow = {**RECIPE.trainer, "learning_rate": 1e-6, "max_steps": 1}
    slowly = train(replace(begun, trainer=slow, projector_learning_rate=1e-6), tmp_path / "slow")
    assert slowly["probe"]["kl"] > 1e-3
    [only_step, remark] = slowly["remarks"]
    assert "is of its only step, before the update" in only_step
    assert "barely moved: its KL divergence from the adapter that training went on from" in remark


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lora": LoraSettings(8, 8)}, "lora.r is 4 there and 8 here"),
        ({"train_projector": False}, "holds whole modules"),
        ({"method": "reward-model"}, "an adapter of its own"),
    ],
)
def test_another_shape_is_refused(
    change: dict[str, Any], told: str, first: Path, preferences: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        train(replace(RECIPE, dataset=(str(preferences),), adapter=str(first), **change), tmp_path / "run")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"alpha_pattern": {"q_proj": 64}}, r"alpha_pattern is {'q_proj': 64}"),
        ({"rank_pattern": {"q_proj": 2}}, r"rank_pattern is {'q_proj': 2}"),
        ({"use_qalora": True, "bias": "all"}, "bias is all, use_qalora is True"),
        ({"of_a_later_peft": {"scale": 2}}, "of_a_later_peft is {'scale': 2}"),
        ({"lora_alpha": None}, "lora.alpha is 0 there and 8 here"),
    ],
)
def test_another_function_of_the_same_weights_is_refused(said: dict[str, Any], told: str) -> None:
    """It would begin as another policy than the adapter, without a word."""
    config = {**LoraConfig(r=4, lora_alpha=8).to_dict(), "peft_type": "LORA"}
    refuse_other_shape("first", {**config, "lora_dropout": 0.1, "megatron_core": "megatron.core"}, LoraSettings(4, 8))
    with pytest.raises(UsageError, match=f"cannot go on from first: .*{told}"):
        refuse_other_shape("first", {**config, **said}, LoraSettings(4, 8))


@pytest.mark.parametrize("asked", [None, "main"])
def test_it_goes_on_on_the_revision_that_the_adapter_was_trained_on(
    asked: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, trained_on = tmp_path / "adapter", "a" * 40
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "me/vlm", "revision": trained_on}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    recipe = replace(RECIPE, model="me/vlm", revision=asked, adapter=str(adapter))
    for commit, same in ((trained_on, True), ("b" * 40, False)):
        monkeypatch.setattr("mmpref.align.begun.identify", lambda *_, commit=commit: (None, commit))
        with contextlib.nullcontext() if same else pytest.raises(ModelError, match="not at bbbb"):
            assert began_facts(tmp_path / "run", recipe, {})["revision"] is None
