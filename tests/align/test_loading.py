"""An adapter goes onto the base that it was trained on, and does something there; or that is said."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmpref.errors import ModelError
from mmpref.registry import resolve_path
from mmpref.types import ModelRef
from mmpref.vlm.policy import Policy

from .conftest import MODEL

TRAINED, OTHER = "a" * 40, "b" * 40


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the model, as PEFT alone saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL))
    config = LoraConfig(r=2, target_modules=r"model\.language_model\..*\.q_proj", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("plain")
    get_peft_model(base, config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def adapter(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "adapter"))


def _say(adapter: Path, **changes: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_another_revision_of_the_base_is_refused(adapter: Path) -> None:
    _say(adapter, base_model_name_or_path=resolve_path(MODEL), revision=TRAINED)
    with pytest.raises(ModelError, match=rf"at {TRAINED}, not at {OTHER}.*Use --revision {TRAINED}"):
        Policy.load(ModelRef(MODEL, OTHER, str(adapter)))
    assert Policy.load(ModelRef(MODEL, TRAINED, str(adapter))).ref.revision == TRAINED


def test_another_base_is_warned_of(adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    _say(adapter, base_model_name_or_path="me/other", revision=TRAINED)
    with caplog.at_level(logging.WARNING, "mmpref"):
        Policy.load(ModelRef(MODEL, OTHER, str(adapter)))
    assert f"was trained on me/other, not on {MODEL}" in caplog.text


def test_an_adapter_of_zeros_is_refused(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    one = next(name for name in weights if "lora_B" in name)
    save_file({name: torch.zeros_like(value) if "lora_B" in name else value for name, value in weights.items()}, file)
    with pytest.raises(ModelError, match=r"changes nothing in .*: with and without it"):
        Policy.load(ModelRef(MODEL, adapter=str(adapter)))
    save_file({name: value if name == one or "lora_A" in name else torch.zeros_like(value)
               for name, value in weights.items()}, file)  # fmt: skip
    Policy.load(ModelRef(MODEL, adapter=str(adapter)))  # One layer that does something is an adapter.
