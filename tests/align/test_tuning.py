"""LoRA on the vision tower, full fine-tuning: TRL's own steps, nothing kept of a tower that changes, whole models."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from trl import DPOTrainer

from mmpref.align import trl_options
from mmpref.align.adapter import adapted_modules, check_saved_adapter
from mmpref.align.collator import PreferenceCollator
from mmpref.align.merge_adapter import merge_adapter
from mmpref.align.method import METHODS
from mmpref.align.preference_data import ROW
from mmpref.align.recipe import LoraSettings, TrainRecipe, refuse
from mmpref.align.reference_cache import ReferenceLogProbCache
from mmpref.align.train import train
from mmpref.align.trainer import PreferenceTrainer
from mmpref.align.tuning import Tuning
from mmpref.errors import ModelError, RunError, UsageError
from mmpref.hub.cards.model import write_model_card
from mmpref.hub.publish_run import publish_run
from mmpref.recipes.schema import as_plain
from mmpref.registry import resolve_path
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from mmpref.vlm.vision_tower import VisionTower
from tests.hub_fixtures import HubAccount
from tests.vlm.tiny import BUILDERS, tiny

from .conftest import MODEL
from .cut import Cut, cutting
from .test_sharing import SIGMOID, dataset, rows, step

TOWER = Tuning(LoraSettings(4, 8), vision_tower=True)
FULL = Tuning(None)
ALL = Tuning(None, vision_tower=True)


def make(kind: type[DPOTrainer], of: Policy, folder: Path, tuning: Tuning, loss: dict[str, Any], **own: Any) -> Any:
    """A trainer; LoRA does not begin as nothing, and weights in full have moved away from the reference's already."""
    used = trl_options.resolve(
        {"per_device_train_batch_size": 3, "gradient_checkpointing": False},
        loss,
        seed=3,
        dtype="float32",
        dropout=False,
    )
    torch.manual_seed(1)
    reference = {"ref_model": copy.deepcopy(of.model)} if tuning.lora is None and kind is DPOTrainer else {}
    trainer = kind(
        model=of.model,
        args=trl_options.config(used, folder),
        train_dataset=dataset(),
        processing_class=of.processor,
        peft_config=tuning.prepare(of)(),
        **reference,
        **own,
    )
    generator = torch.Generator().manual_seed(2)
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and (tuning.lora is None or "lora_B" in name):
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return trainer


def assert_same(got: tuple[float, dict[str, torch.Tensor]], expected: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    assert got[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        difference, size = float((got[1][name] - gradient).norm()), float(gradient.norm())
        assert difference <= max(2e-5 * size, 1e-7), (name, difference, size)


CASES = [
    ("llava_next", TOWER, SIGMOID, False),
    ("llava_next", TOWER, SIGMOID, True),
    ("qwen2_5_vl", TOWER, SIGMOID, True),
    ("llava_next", FULL, SIGMOID, False),
    ("llava_next", FULL, SIGMOID, True),
    ("llava_next", Tuning(None, projector=False), {**SIGMOID, "ld_alpha": 0.3}, False),
    ("llava_next", ALL, SIGMOID, True),
    ("qwen3_vl", ALL, SIGMOID, True),
]


@pytest.mark.parametrize(("name", "tuning", "loss", "share"), CASES)
def test_a_step_is_trls(name: str, tuning: Tuning, loss: dict[str, Any], share: bool, tmp_path: Path) -> None:
    theirs = make(DPOTrainer, tiny(name), tmp_path / "a", tuning, loss)
    expected = step(theirs, theirs.data_collator(rows()))
    assert any(".vision_tower." in key or ".visual.blocks." in key for key in expected[1]) == tuning.vision_tower
    policy = tiny(name)
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        tuning,
        loss,
        policy=policy,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy) if share else None,
        reference=ReferenceLogProbCache(tmp_path / "reference.f32", 3),
    )
    batch = ours.data_collator([{**row, ROW: number} for number, row in enumerate(rows())])
    assert_same(step(ours, batch), expected)
    assert_same(step(ours, batch), expected)  # with the reference's log-probabilities out of the file


@pytest.mark.parametrize("name", BUILDERS)
def test_lora_goes_into_every_familys_vision_tower(name: str) -> None:
    policy = tiny(name)
    tower = VisionTower(policy)
    if not tower.is_told_apart:
        with pytest.raises(ModelError, match="does not tell its vision tower"):
            TOWER.prepare(policy)()
        return
    linear = tower.linear_layers()
    decoder = sum(isinstance(module, torch.nn.Linear) for module in policy.decoder.modules())
    model = get_peft_model(policy.base_model, TOWER.prepare(policy)())
    expected = {"language_model": decoder, "vision_tower": len(linear), "elsewhere": 0, "projector": 1}
    assert adapted_modules(model, policy) == expected
    assert linear
    assert not VisionTower(policy).is_supported


def recipe(data: Path, **other: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    return TrainRecipe(MODEL, (str(data),), lora=LoraSettings(4, 8), limit=8, trainer=trainer, **other)


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_tower_that_is_trained_runs_in_every_epoch(tuning: Any, preferences: Path, tmp_path: Path) -> None:
    """Two epochs: what the tower made of an image in the first is no longer true in the second."""
    kept = recipe(preferences, tuning=tuning, train_vision_tower=True)
    none = recipe(preferences, tuning=tuning, train_vision_tower=True, feature_cache_gb=0.0)
    with pytest.raises(Cut):
        train(kept, tmp_path / "kept", on_progress=cutting(3))
    scratch = tmp_path / "kept/.mmpref/training"
    assert scratch.is_dir()
    assert not list(scratch.glob("features-*"))
    manifest = train(kept, tmp_path / "kept")
    assert manifest["prompt_shared"]
    train(none, tmp_path / "none")
    assert logged(tmp_path / "kept") == logged(tmp_path / "none")
    file = "model.safetensors" if tuning == "full" else "adapter_model.safetensors"
    weights = [(tmp_path / name / file).read_bytes() for name in ("kept", "none")]
    assert weights[0] == weights[1], "also resumed bit for bit"


def test_a_model_trained_in_full_is_one_that_anybody_loads(preferences: Path, tmp_path: Path, hub: HubAccount) -> None:
    run = tmp_path / "full"
    manifest = train(recipe(preferences, tuning="full"), run, write_card=write_model_card)
    assert not manifest["modules"]
    parameters = manifest["parameters"]
    assert parameters["language_model"] > parameters["projector"] > 0
    assert parameters["language_model"] + parameters["projector"] < parameters["total"], "the tower is frozen"
    base = dict(load_policy(ModelRef(MODEL)).model.named_parameters())
    model = AutoModelForImageTextToText.from_pretrained(run, dtype=torch.float32)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, base[name])}
    assert not [name for name in changed if "vision_tower" in name]
    assert [name for name in changed if "projector" in name]
    assert sum(base[name].numel() for name in changed) > 0.9 * (parameters["language_model"] + parameters["projector"])
    assert load_policy(ModelRef(str(run))).ref.adapter is None
    with pytest.raises(ModelError, match="It is a model: give it as --model"):
        load_policy(ModelRef(MODEL, adapter=str(run)))
    with pytest.raises(RunError, match="a whole model already"):
        merge_adapter(run, tmp_path / "merged")

    check_saved_adapter(run)
    name = f"{hub.name}/full"
    publish_run(run, name, token=hub.token, endpoint=hub.endpoint)
    assert {"model.safetensors", "config.json", "run.json"} <= set(hub.hub.tree("model", name))
    card = hub.hub.read("model", name, "README.md").decode()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert "lora" not in yaml.safe_load(card.split("---\n")[1])["tags"]
    for text in ("fine-tuned in full", "Trained in full, in parameters: language model", "tuning"):
        assert text in card
    for text in ("LoRA", "<code>lora.r</code>", "The adapter", "PeftModel"):
        assert text not in card
    (run / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="Cannot load the model"):
        check_saved_adapter(run)


def test_mixed_precision_of_weights_in_full_ends_with_the_step(preferences: Path, tmp_path: Path) -> None:
    """The shared forward calls the model within itself, and accelerate's autocast must not be entered twice."""
    block = {"max_steps": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "bf16": True}
    manifest = train(
        TrainRecipe(MODEL, (str(preferences),), tuning="full", limit=4, trainer={"learning_rate": 1e-3, **block}),
        tmp_path / "run",
    )
    assert manifest["prompt_shared"]
    assert not torch.is_autocast_enabled("cpu")
    assert manifest["probe"]["changes"] * 64 % 1 != 0, "it is verified in fp32"


def test_lora_on_the_tower_stands_in_the_card(preferences: Path, tmp_path: Path) -> None:
    manifest = train(recipe(preferences, train_vision_tower=True), tmp_path / "run", write_card=write_model_card)
    assert manifest["modules"]["vision_tower"] > 0
    card = (tmp_path / "run/README.md").read_text()
    assert f"vision tower {manifest['modules']['vision_tower']}" in card
    weights = load_file(tmp_path / "run/adapter_model.safetensors")
    assert any(weights[name].any() for name in weights if "vision_tower" in name and "lora_B" in name)
    merge_adapter(tmp_path / "run", tmp_path / "merged")
    whole = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    base = dict(AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL)).named_parameters())
    assert [n for n, value in whole.named_parameters() if "vision_tower" in n and not torch.equal(value, base[n])]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"method": "reward-model"}, "trains an adapter"),
        ({"quantization": "8bit"}, "Quantized weights"),
        ({"dtype": "bfloat16"}, "trains weights in float32"),
        ({"keep_checkpoints": True}, "keeps adapters"),
        ({"adapter": "run"}, "no adapter goes on"),
    ],
)
def test_what_cannot_be_trained_in_full_is_refused(settings: dict[str, Any], reason: str) -> None:
    wanted = TrainRecipe(MODEL, ("data",), tuning="full", **settings)
    with pytest.raises(UsageError, match=reason):
        refuse(wanted, METHODS.get(wanted.method))


def test_recipes_without_them_keep_their_hash() -> None:
    assert not {"tuning", "train_vision_tower"} & as_plain(TrainRecipe(MODEL)).keys()
