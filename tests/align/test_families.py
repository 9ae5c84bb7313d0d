"""Every family of the table trains, on its tiny model."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mmpref.align import trl_options
from mmpref.align.adapter import adapted_modules, lora_config
from mmpref.align.method import METHODS, ConfiguredMethod, TrainerParts
from mmpref.align.preference_data import ROW, collect_pairs
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.trainer import PreferenceTrainer
from mmpref.align.trainer_factory import make_trainer, prepare_padding, shared_forward
from mmpref.align.trainer_mixin import ResumableTrainerMixin
from mmpref.recipes import schema as recipes
from mmpref.tables.open import open_table
from mmpref.types import messages, text_of
from mmpref.vlm.families import FAMILIES
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import tiny


def made(policy: Policy, data: Path, folder: Path, method: str = "dpo", **loss: object) -> ResumableTrainerMixin:
    """What ``mmpref train`` makes of a policy."""
    block = {
        "learning_rate": 1e-3,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "save_strategy": "no",
    }
    recipe = TrainRecipe("tiny", (str(data),), method, lora=LoraSettings(2, 4), trainer=block)
    configured = ConfiguredMethod(METHODS.get(method), recipes.build(METHODS.get(method).settings, loss))
    used = trl_options.resolve(recipe.trainer, configured.trainer_options, seed=3, dtype="float32", dropout=False)
    image_token = policy.tokenizer.convert_ids_to_tokens(policy.image_token_id)
    pairs = collect_pairs(
        [open_table(str(data))], folder, image_token=image_token, limit=4, weights=configured.method.weights_read
    )
    prepare_padding(policy, None)
    parts = TrainerParts(
        configured.settings,
        trl_options.config(used, folder, configured.method.config()),
        policy,
        pairs,
        lora=partial(lora_config, policy, recipe.lora, True),
        projector_learning_rate=recipe.projector_learning_rate or 0.0,
        share=partial(shared_forward, policy, pairs),
        scratch=folder,
    )
    return make_trainer(configured, parts, seed=0, annotator=None, feature_cache_gb=recipe.feature_cache_gb)


@pytest.mark.parametrize("name", [family.model_type for family in FAMILIES])
def test_a_family_trains_two_steps(name: str, preferences: Path, tmp_path: Path) -> None:
    policy = tiny(name)
    trainer = made(policy, preferences, tmp_path)
    modules = adapted_modules(trainer.model, policy)
    assert modules["language_model"] > 0 == modules["elsewhere"]
    assert modules["projector"] == 1
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[0] == pytest.approx(math.log(2), abs=5e-3)  # with experts, their balance is a part of it
    assert losses[1] != losses[0]
    moved = {
        name
        for name, value in trainer.model.named_parameters()
        if value.requires_grad and not torch.equal(value, before[name])
    }
    assert {"lora_B" in name or "modules_to_save" in name for name in moved} >= {True}
    assert any("modules_to_save" in name for name in moved)


@pytest.mark.parametrize("name", ["paligemma", "paligemma2"])
def test_prompts_that_see_themselves_both_ways_see_no_answer(name: str, preferences: Path, tmp_path: Path) -> None:
    """The oracle asks the model for one token after another, with nothing behind it."""
    policy = tiny(name)
    trainer = made(policy, preferences, tmp_path)
    assert isinstance(trainer, PreferenceTrainer)
    assert trainer.shared is None
    row = trainer.train_dataset[0]
    with torch.no_grad():
        trainer.compute_loss(trainer.model, trainer.collate([row]))
    for answer in ("chosen", "rejected"):
        assert trainer._metrics["train"][f"logps/{answer}"] == pytest.approx(
            [log_prob(policy, row, answer)], rel=1e-4
        ), answer


@pytest.mark.parametrize("name", ["aya_vision", "cohere2_vision", "llava_gemma2", "llava_granite", "gemma3", "llava"])
def test_what_is_trained_are_the_models_own_log_probabilities(name: str, preferences: Path, tmp_path: Path) -> None:
    """Configurations name a scale or a cap that only some classes apply to logits; TRL goes by the configuration."""
    policy = tiny(name)
    config = policy.base_model.config.get_text_config()
    before = config.to_dict()
    trainer = made(policy, preferences, tmp_path)
    assert isinstance(trainer, PreferenceTrainer)
    assert config.to_dict() == before, "what is saved is the model's own"
    row = trainer.train_dataset[0]
    with torch.no_grad():
        trainer.compute_loss(trainer.model, trainer.collate([row]))
        batch = trainer.collate([row])
        asked = batch.pop("completion_mask")[:, 1:].bool()
        inputs = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor) and key != ROW}
        logits = policy.base_model(**inputs, use_cache=False).logits[:, :-1].float()
    own = logits.log_softmax(-1).gather(2, inputs["input_ids"][:, 1:, None])[..., 0].where(asked, 0).sum(1)
    logged = [trainer._metrics["train"][f"logps/{answer}"][0] for answer in ("chosen", "rejected")]
    assert logged == pytest.approx(own.tolist(), rel=1e-4)


def log_prob(policy: Policy, row: dict[str, Any], answer: str) -> float:
    """Of an answer as `evaluate` asks the prompt, token by token."""
    prompt = messages(row["prompt"])
    inputs = {name: value for name, value in policy.prompter.prepare(prompt, row["images"]).items() if name != "labels"}
    text = policy.render_answer(prompt, len(row["images"]), text_of(row[answer]))
    total = 0.0
    for token in policy.tokenizer(text, add_special_tokens=False)["input_ids"]:
        with torch.no_grad():
            logits = policy.base_model(**inputs, use_cache=False).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
        more = {"input_ids": token, "attention_mask": 1, "token_type_ids": 1}
        inputs |= {key: torch.cat([inputs[key], torch.tensor([[value]])], 1) for key, value in more.items()}
    return total


def vowels(images: list[Any], prompt: list[Any], answers: list[str]) -> list[float]:
    return [float(sum(answer.count(letter) for letter in "aeiou12345")) for answer in answers]


def test_rloo_scores_such_answers_alike(preferences: Path, tmp_path: Path) -> None:
    """What it takes for the policy's log-probabilities is the same with and without a token behind the answer."""
    policy = tiny("paligemma")
    reward = f"{__name__}:vowels"
    trainer = made(policy, preferences, tmp_path, "rloo", reward=reward, samples=2, max_answer_tokens=4)
    inputs = policy.prompter.prepare(messages(trainer.train_dataset[0]["prompt"]), trainer.train_dataset[0]["images"])
    said = []
    for more in (3, 4):
        ids = torch.cat([inputs["input_ids"], torch.arange(10, 10 + more)[None]], 1)
        types = torch.cat([inputs["token_type_ids"], torch.zeros(1, more, dtype=torch.long)], 1)
        with torch.no_grad():
            log_probs, _, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model,
                ids,
                torch.ones_like(ids),
                more,
                pixel_values=inputs["pixel_values"],
                num_images=[1],
                token_type_ids=types,
            )
        said.append(log_probs[0, :3])
    assert torch.allclose(said[0], said[1], atol=1e-5)
    trainer.train()
    assert any("loss" in row for row in trainer.state.log_history)
