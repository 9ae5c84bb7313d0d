"""Where LoRA and the trained projector go, for every family of the table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model

from mmpref.align.adapter import adapted_modules, lora_config
from mmpref.align.recipe import LoraSettings
from mmpref.errors import UsageError
from tests.vlm.tiny import BUILDERS, tiny


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


@pytest.mark.parametrize("settings", [{"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="r and alpha must be at least 1"):
        LoraSettings(**settings)
