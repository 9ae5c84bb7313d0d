"""An adapter goes onto the base that it was trained on, and does something there; or that is said."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mmpref.align.adapter import check_saved_adapter
from mmpref.align.checkpoints import checkpoints_folder, latest_checkpoint, mark_complete
from mmpref.align.fitted import SCRATCH
from mmpref.align.merge_adapter import merge_adapter
from mmpref.align.train import train
from mmpref.cli.main import program
from mmpref.errors import ModelError, RunError
from mmpref.registry import resolve_path
from mmpref.run.manifest import STATE
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter
from mmpref.vlm.load import load_policy

from .conftest import MODEL
from .test_train import TRAINER, recipe

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
    with pytest.raises(ModelError, match=rf"at {TRAINED}, not at {OTHER}.*Use --revision={TRAINED}"):
        check_adapter(ModelRef(MODEL, OTHER, str(adapter)))
    check_adapter(ModelRef(MODEL, TRAINED, str(adapter)))


def test_another_base_is_warned_of(adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    _say(adapter, base_model_name_or_path="me/other", revision=TRAINED)
    with caplog.at_level(logging.WARNING, "mmpref"):
        load_policy(ModelRef(MODEL, adapter=str(adapter)))
    assert f"was trained on me/other, not on {MODEL}" in caplog.text


def _cut(adapter: Path, lost: str) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if lost not in name}, file)


@pytest.mark.long
def test_a_run_that_lost_weights_is_not_published_merged_or_evaluated(preferences: Path, tmp_path: Path) -> None:
    often = {**TRAINER, "max_steps": 2, "save_steps": 1, "save_total_limit": None}
    run = tmp_path / "run"
    train(recipe(MODEL, str(preferences), keep_checkpoints=True, trainer=often), run)
    check_saved_adapter(run)
    copies = [Path(shutil.copytree(run, tmp_path / name)) for name in ("adapter", "checkpoint")]
    _cut(copies[0], "projector")
    _cut(next((copies[1] / "checkpoints").iterdir()), "layers.0.mlp.up_proj.lora_B")
    for copy, says in zip(copies, ("multi_modal_projector", "up_proj.lora_B"), strict=True):
        done = CliRunner().invoke(program, ["publish", str(copy), "--hub-model-id", "a/b"])
        assert isinstance(done.exception, ModelError)
        assert "of the weights that its configuration names" in str(done.exception)
        assert says in str(done.exception)
    with pytest.raises(ModelError, match="lacks 4 of the weights"):
        merge_adapter(copies[0], tmp_path / "merged")
    with pytest.raises(ModelError, match="lacks 4 of the weights"):
        load_policy(ModelRef(MODEL, adapter=str(copies[0])))


@pytest.mark.long
def test_a_checkpoint_that_lost_weights_is_not_gone_on_from(preferences: Path, tmp_path: Path) -> None:
    def full(where: Path, facts: dict[str, Any]) -> None:
        raise RunError("the disk is full")

    values = recipe(MODEL, str(preferences), trainer={**TRAINER, "max_steps": 2, "save_steps": 1})
    with pytest.raises(RunError, match="the disk is full"):
        train(values, tmp_path / "run", write_card=full)
    checkpoint = latest_checkpoint(checkpoints_folder(tmp_path / "run" / STATE / SCRATCH))
    assert checkpoint is not None
    _cut(checkpoint, "layers.1")
    mark_complete(checkpoint)
    with pytest.raises(ModelError, match=r"lacks \d+ of the weights .*layers\.1"):
        train(values, tmp_path / "run")


def test_an_adapter_of_zeros_is_refused(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    one = next(name for name in weights if "lora_B" in name)
    save_file({name: torch.zeros_like(value) if "lora_B" in name else value for name, value in weights.items()}, file)
    with pytest.raises(ModelError, match=r"changes nothing in .*: with and without it"):
        load_policy(ModelRef(MODEL, adapter=str(adapter)))
    save_file(
        {
            name: value if name == one or "lora_A" in name else torch.zeros_like(value)
            for name, value in weights.items()
        },
        file,
    )
    load_policy(ModelRef(MODEL, adapter=str(adapter)))  # One layer that does something is an adapter.
