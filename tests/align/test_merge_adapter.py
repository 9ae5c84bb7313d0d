"""An adapter merged into its base: one ordinary model that says what base and adapter say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmpref.align.merge_adapter import merge_adapter
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import ModelError, RunError
from mmpref.hub.cards.model import write_model_card
from mmpref.hub.publish_run import publish_run
from mmpref.images import decode
from mmpref.registry import resolve_path
from mmpref.testbed.render import png
from mmpref.testbed.world import scene
from mmpref.types import ImageData
from mmpref.vlm.base_weights import folder_weights
from tests.hub_fixtures import HubAccount

from .conftest import MODEL


def trained(data: Path, output: Path, method: str = "dpo") -> Path:
    trainer = {
        "learning_rate": 3e-3,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(MODEL, (str(data),), method, lora=LoraSettings(4, 8), trainer=trainer)
    train(recipe, output, write_card=write_model_card)
    return output


def test_a_merged_model_is_published_and_loads_as_one(preferences: Path, hub: HubAccount, tmp_path: Path) -> None:
    run = trained(preferences, tmp_path / "run")
    merge_adapter(run, tmp_path / "merged")
    name = f"{hub.name}/whole"
    publish_run(run, name, merged=tmp_path / "merged", token=hub.token, endpoint=hub.endpoint)
    there = hub.hub.tree("model", name)
    assert "model.safetensors" in there
    assert not [file for file in there if file.startswith("adapter")]
    place = tmp_path / "from-hub"
    place.mkdir()
    for file in there:
        (place / file).write_bytes(hub.hub.read("model", name, file))
        if file.endswith((".json", ".md", ".jinja")):
            assert str(tmp_path) not in (place / file).read_text()
    card = (place / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert "with a LoRA adapter merged into its weights" in card
    assert f'AutoModelForImageTextToText.from_pretrained("{name}")' in card
    assert "Plain clients do not check" not in card

    processor = AutoProcessor.from_pretrained(place)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}],
        add_generation_prompt=True,
    )
    image = decode(ImageData(png(scene("test", 0))))
    inputs = processor(text=[text], images=[image], return_tensors="pt", add_special_tokens=False)
    whole = AutoModelForImageTextToText.from_pretrained(place, dtype=torch.float32)
    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype=torch.float32)
    with torch.no_grad():
        before = base(**inputs).logits
        expected = PeftModel.from_pretrained(base, run)(**inputs).logits
        got = whole(**inputs).logits
    assert (expected - before).abs().max() > 1e-3
    # The checkpoint's precision is half: so is that of what is merged into it.
    assert (got - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_reward_model_is_not_merged(preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no policy's adapter"):
        merge_adapter(trained(preferences, tmp_path / "reward", "reward-model"), tmp_path / "merged")


def test_a_base_that_has_changed_since_is_not_merged_into(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(resolve_path(MODEL), base)
    run.mkdir()
    recipe = {"method": "dpo", "trust_remote_code": False}
    facts = {"model": {"id": str(base), "revision": None}, "model_weights": folder_weights(str(base))}
    (run / "run.json").write_text(json.dumps({"command": "train", "recipe": recipe, **facts}))
    with open(base / "model.safetensors", "ab") as opened:
        opened.write(b"\0")
    with pytest.raises(ModelError, match=r"was trained on other weights than .*base holds now"):
        merge_adapter(run, tmp_path / "merged")
