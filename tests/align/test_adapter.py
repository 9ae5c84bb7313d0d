"""Where LoRA and the trained projector go, for every family of the table."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from mmpref.align.adapter import adapted_modules, lora_config
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import UsageError
from mmpref.recipes.schema import as_plain
from mmpref.run.files import open_weights
from tests.vlm.tiny import BUILDERS, policy_of, tiny

from .conftest import MODEL


@pytest.mark.parametrize("name", BUILDERS)
def test_every_family_is_adapted_in_its_language_model_only(name: str) -> None:
    policy = tiny(name)
    model, family = policy.base_model, policy.family
    linear = sum(isinstance(module, torch.nn.Linear) for module in model.get_decoder().modules())
    adapted = get_peft_model(model, lora_config(policy, LoraSettings(2, 4), train_projector=True))
    assert adapted_modules(adapted, policy) == {"language_model": linear, "elsewhere": 0, "projector": 1}
    full = [name for name, value in adapted.named_parameters() if value.requires_grad and "lora_" not in name]
    assert full
    assert all(f".{family.projector}.modules_to_save." in name for name in full)


def test_a_rank_stabilised_update_is_scaled_by_the_root_of_its_rank() -> None:
    policy = tiny("llava_next")
    config = lora_config(policy, LoraSettings(4, 8, use_rslora=True), train_projector=True)
    layers = [module for module in get_peft_model(policy.base_model, config).modules() if isinstance(module, LoraLayer)]
    assert {layer.scaling["default"] for layer in layers} == {8 / math.sqrt(4)}


def test_dora_on_stabilised_ranks_trains_and_is_what_plain_peft_loads(preferences: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
    }
    lora = LoraSettings(4, 8, use_rslora=True, use_dora=True)
    manifest = train(TrainRecipe(MODEL, (str(preferences),), lora=lora, trainer=trainer), tmp_path / "run")
    assert manifest["prompt_shared"]
    config = json.loads((tmp_path / "run/adapter_config.json").read_text())
    assert (config["use_rslora"], config["use_dora"]) == (True, True)
    weights = load_file(tmp_path / "run/adapter_model.safetensors")
    assert sum("lora_magnitude_vector" in name for name in weights) == manifest["modules"]["language_model"]
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "run").iterdir() if file.is_file()}
    assert len(set(modes.values())) == 1, modes


def test_weights_get_the_mode_of_other_files_where_the_file_system_lets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that is saved does not end in an error because modes cannot be set."""
    weights, other = tmp_path / "checkpoint-2" / "adapter_model.safetensors", tmp_path / "run.json"
    weights.parent.mkdir()
    weights.touch(0o600)
    other.touch()

    def refuse(*_: Any) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", refuse)
        open_weights(tmp_path)
    assert weights.stat().st_mode & 0o777 == 0o600
    open_weights(tmp_path)
    assert weights.stat().st_mode == other.stat().st_mode
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint-2", "run.json"}


def test_recipes_without_them_keep_their_hash() -> None:
    assert as_plain(TrainRecipe(MODEL))["lora"] == {"r": 128, "alpha": 256, "dropout": 0.0}


@pytest.mark.parametrize("settings", [{"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="r and alpha must be at least 1"):
        LoraSettings(**settings)


@pytest.mark.parametrize(
    ("name", "says"), [("qwen3_vl_moe", "stay as they are (experts.down_proj, experts.gate_up_proj)"), ("llava", "")]
)
def test_weights_of_experts_that_lora_does_not_reach_are_told(
    name: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mmpref"):
        lora_config(policy_of(name), LoraSettings(2, 4), train_projector=True)
    assert len(caplog.messages) == bool(says)
    assert all(says in said for said in caplog.messages)
