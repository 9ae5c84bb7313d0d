"""What stands before a trainer: padding as TRL has it, and errors that name who raised them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmpref.align import reward_trainer
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import UsageError
from mmpref.registry import resolve_path

from .conftest import MODEL


def recipe(model: str, data: Path, method: str = "dpo", **changes: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "save_strategy": "no",
        **changes.pop("trainer", {}),
    }
    return TrainRecipe(model, (str(data),), method, lora=LoraSettings(4, 8), trainer=trainer, **changes)


@pytest.fixture(scope="module")
def without_padding(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The testbed's model as many are published: no padding token anywhere."""
    folder = tmp_path_factory.mktemp("models") / "no_pad_token"
    shutil.copytree(resolve_path(MODEL), folder)
    for name, keys in (
        ("tokenizer_config", ("pad_token",)),
        ("config", ("text_config", "pad_token_id")),
        ("generation_config", ("pad_token_id",)),
    ):
        path = folder / f"{name}.json"
        content = place = json.loads(path.read_text(encoding="utf-8"))
        for key in keys[:-1]:
            place = place[key]
        place.pop(keys[-1])
        path.write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("changes", [{}, {"share_prompt": False}, {"method": "reward-model"}])
def test_a_tokenizer_without_padding_is_prepared_as_trl_does(
    changes: dict[str, Any], without_padding: str, preferences: Path, tmp_path: Path
) -> None:
    manifest = train(recipe(without_padding, preferences, **changes), tmp_path / "run")
    assert manifest["steps"] == 2
    assert manifest["prompt_shared"] == changes.get("share_prompt", True)
    why = "FlexAttention has no backward pass on a cpu" if manifest["prompt_shared"] else "the model's own forward"
    assert manifest["attention"] == {"sdpa": why}
    assert json.loads((tmp_path / "run/tokenizer_config.json").read_text())["pad_token"] == "</s>"


def test_a_padding_token_of_ones_own(without_padding: str, preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"trainer.pad_token is '<none>', which .* does not know"):
        train(recipe(without_padding, preferences, trainer={"pad_token": "<none>"}), tmp_path / "run")
    train(recipe(without_padding, preferences, trainer={"pad_token": "<unk>"}), tmp_path / "run")
    assert json.loads((tmp_path / "run/tokenizer_config.json").read_text())["pad_token"] == "<unk>"


def test_an_error_is_trls_only_where_trl_raised_it(
    preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"TRL refuses these settings: .*router_aux_loss_coef"):
        train(recipe(MODEL, preferences, trainer={"router_aux_loss_coef": 0.5}), tmp_path / "theirs")

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(reward_trainer.RewardTrainer, "set_up", broken)
    with pytest.raises(ValueError, match=r"^ours$"):
        train(recipe(MODEL, preferences, "reward-model"), tmp_path / "ours")
