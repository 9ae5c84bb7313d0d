"""The trainer against TRL's own: same tokens, same loss; what is trained, at which rate, and what the reference is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from trl import DPOConfig, DPOTrainer

from mmpref.align import adapter, trl_options
from mmpref.align.adapter import lora_config
from mmpref.align.collator import PreferenceCollator
from mmpref.align.preference_data import Pairs, collect
from mmpref.align.recipe import LoraSettings
from mmpref.align.trainer import PreferenceTrainer
from mmpref.tables.open import open_table
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy

from .conftest import MODEL


@pytest.fixture(scope="module")
def pairs(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return collect([open_table(str(preferences))], tmp_path_factory.mktemp("pairs"), image_token="<image>")


def load() -> Policy:
    return load_policy(ModelRef(MODEL))


def config(folder: Path, **trainer: Any) -> DPOConfig:
    block = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_strategy": "no", **trainer}
    used = trl_options.resolve(block, {"beta": 0.1}, seed=3, dtype="float32", dropout=False)
    return trl_options.config(used, folder)


def make(policy: Policy, pairs: Pairs, folder: Path, *, projector: bool = True, **trainer: Any) -> PreferenceTrainer:
    return PreferenceTrainer(
        model=policy.model,
        args=config(folder, **trainer),
        train_dataset=pairs.dataset,
        processing_class=policy.processor,
        peft_config=lora_config(policy, LoraSettings(4, 8), projector),
        data_collator=PreferenceCollator(policy.processor),
        projector_learning_rate=5e-4,
    )


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_loss_and_weights_equal_trls_own_trainer(pairs: Pairs, tmp_path: Path) -> None:
    policy = load()
    theirs = DPOTrainer(
        model=policy.model,
        args=config(tmp_path / "a", max_steps=3),
        train_dataset=pairs.dataset,
        processing_class=policy.processor,
        peft_config=lora_config(policy, LoraSettings(4, 8), False),
    )
    theirs.train()
    ours = make(load(), pairs, tmp_path / "b", projector=False, max_steps=3)
    ours.train()
    losses = [[row["loss"] for row in trainer.state.log_history if "loss" in row] for trainer in (theirs, ours)]
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]
    expected, got = parameters(theirs.model), parameters(ours.model)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_trls_unmodified_trainer_trains_on_such_a_dataset(preferences: Path, tmp_path: Path) -> None:
    import datasets

    policy = load()
    before = parameters(policy.model)
    args = DPOConfig(
        str(tmp_path),
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        max_steps=2,
        report_to="none",
        save_strategy="no",
        learning_rate=1e-3,
    )
    rows = datasets.load_dataset(str(preferences), split="train", cache_dir=str(tmp_path / "cache"))
    trainer = DPOTrainer(model=policy.model, args=args, train_dataset=rows, processing_class=policy.processor)
    trainer.train()
    assert trainer.state.global_step == 2
    after = parameters(trainer.model)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_lora_is_in_the_language_model_only(pairs: Pairs, tmp_path: Path) -> None:
    policy = load()
    trainer = make(policy, pairs, tmp_path)
    adapted = [name for name, module in trainer.model.named_modules() if isinstance(module, LoraLayer)]
    assert len(adapted) == 3 * 7
    assert all(name.startswith("base_model.model.model.language_model.layers.") for name in adapted)
    assert adapter.adapted_modules(trainer.model, policy) == {"language_model": 21, "elsewhere": 0, "projector": 1}
    trained = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert all("lora_" in name or "multi_modal_projector.modules_to_save" in name for name in trained)
    assert sum("modules_to_save" in name for name in trained) == 4


def test_the_projector_has_its_own_learning_rate(pairs: Pairs, tmp_path: Path) -> None:
    trainer = make(load(), pairs, tmp_path)
    optimizer = trainer.create_optimizer()
    names = {id(value): name for name, value in trainer.model.named_parameters()}
    rates = {names[id(value)]: group["lr"] for group in optimizer.param_groups for value in group["params"]}
    assert rates.keys() == {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert {rate for name, rate in rates.items() if "projector" in name} == {5e-4}
    assert {rate for name, rate in rates.items() if "projector" not in name} == {1e-3}


def test_a_projector_rate_of_zero_leaves_it_alone(pairs: Pairs, tmp_path: Path) -> None:
    trainer = make(load(), pairs, tmp_path, max_steps=2)
    trainer._projector_learning_rate = 0.0
    before = parameters(trainer.model)
    trainer.train()
    after = parameters(trainer.model)
    assert all(torch.equal(before[name], after[name]) for name in before if "modules_to_save" in name)
    assert any(not torch.equal(before[name], after[name]) for name in before if "lora_" in name)


def test_the_reference_is_the_original_model_projector_included(pairs: Pairs, tmp_path: Path) -> None:
    trainer = make(load(), pairs, tmp_path, max_steps=4, projector=True)
    trainer.train()
    untouched = load()
    originals = parameters(untouched.model)
    trained = parameters(trainer.model)
    for leaf in ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"):
        path = "base_model.model.model.multi_modal_projector"
        assert torch.equal(trained[f"{path}.original_module.{leaf}"], originals[f"model.multi_modal_projector.{leaf}"])
        assert not torch.equal(
            trained[f"{path}.modules_to_save.default.{leaf}"], originals[f"model.multi_modal_projector.{leaf}"]
        )
    batch = trainer.data_collator([pairs.dataset[0], pairs.dataset[1]])
    plain = adapter.logits(untouched.model, batch)
    with trainer.model.disable_adapter():
        assert torch.equal(adapter.logits(trainer.model, batch), plain)
    assert not torch.equal(adapter.logits(trainer.model, batch), plain)
    # TRL's own path to the reference log-probabilities, through its context and its fused head.
    chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
    steps = plain[:, :-1].log_softmax(-1).gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    expected = (steps * batch["completion_mask"][:, 1:]).sum(dim=1)
    torch.testing.assert_close(torch.cat([chosen, rejected]), expected, rtol=1e-5, atol=1e-4)


def test_the_reference_pass_does_not_cost_the_projector_its_gradient(pairs: Pairs, tmp_path: Path) -> None:
    # Switching the adapter off and on again toggles requires_grad between the policy's forward and its backward.
    trainer = make(load(), pairs, tmp_path)
    trainer.model.train()
    batch = trainer.data_collator([pairs.dataset[index] for index in range(2)])
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    gradients = {name: value.grad for name, value in trainer.model.named_parameters() if value.requires_grad}
    projector = [value for name, value in gradients.items() if "modules_to_save" in name]
    assert len(projector) == 4
    assert all(value is not None and value.abs().max() > 0 for value in projector)
    assert all(value.grad is None for value in trainer.model.parameters() if not value.requires_grad)


def test_bos_once_and_eos_scored(pairs: Pairs, tmp_path: Path) -> None:
    policy = load()
    trainer = make(policy, pairs, tmp_path)
    batch = trainer.data_collator([pairs.dataset[index] for index in range(4)])
    bos, eos = policy.tokenizer.bos_token_id, policy.tokenizer.eos_token_id
    for ids, scored, attended in zip(
        batch["input_ids"], batch["completion_mask"], batch["attention_mask"], strict=True
    ):
        length = int(attended.sum())
        assert ids[0] == bos
        assert int((ids[:length] == bos).sum()) == 1
        assert ids[length - 1] == eos
        assert scored[length - 1] == 1
        answer = policy.tokenizer.decode(ids[:length][scored[:length].bool()])
        assert answer.strip().endswith(policy.tokenizer.eos_token)
        assert policy.image_token_id not in ids[scored.bool()]
    turns = pairs.dataset[0]
    expected = f"{turns['chosen'][0]['content']}{policy.tokenizer.eos_token}"
    answer = batch["input_ids"][0][batch["completion_mask"][0].bool()]
    assert policy.tokenizer.decode(answer).strip() == expected


def test_a_row_trains_on_the_prompt_that_evaluation_asks(pairs: Pairs, tmp_path: Path) -> None:
    from mmpref.types import Message

    policy = load()
    row = pairs.dataset[0]
    batch = make(policy, pairs, tmp_path).data_collator([pairs.dataset[0]])
    prompt = policy.render([Message("user", row["prompt"][0]["content"])], 1)
    asked = policy.processor(images=row["images"], text=prompt, add_special_tokens=False, return_tensors="pt")
    length = asked["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][0][:length], asked["input_ids"][0])
    assert int(batch["completion_mask"][0].argmax()) == length


def test_changing_the_image_changes_the_loss(pairs: Pairs, tmp_path: Path) -> None:
    trainer = make(load(), pairs, tmp_path)
    # With a fresh adapter policy and reference agree on any image, so give it weights.
    with torch.no_grad():
        for name, value in trainer.model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.05)
    first, second = pairs.dataset[0], pairs.dataset[1]
    losses = []
    for images in (first["images"], second["images"]):
        batch = trainer.data_collator([{**pairs.dataset[0], "images": images}])
        with torch.no_grad():
            losses.append(float(trainer.compute_loss(trainer.model, dict(batch))))
    assert losses[0] != losses[1]


def test_the_projector_is_trained_in_fp32_and_saved_in_the_models_dtype(pairs: Pairs, tmp_path: Path) -> None:
    policy = load_policy(ModelRef(MODEL), dtype="bfloat16")
    trainer = make(policy, pairs, tmp_path / "checkpoints", max_steps=2, bf16=True, learning_rate=1e-6)
    trainer._projector_learning_rate = 1e-6
    before = parameters(trainer.model)
    trainer.train()
    after = parameters(trainer.model)
    projector = [name for name in after if "modules_to_save" in name]
    assert {after[name].dtype for name in projector} == {torch.float32}
    assert all(not torch.equal(before[name], after[name]) for name in projector)
    trained = trainer.policy()
    adapter.save(trained, policy.processor, policy.ref, tmp_path / "run")
    base = load_policy(ModelRef(MODEL), dtype="bfloat16")
    loaded = PeftModel.from_pretrained(base.model, str(tmp_path / "run"))
    batch = trainer.data_collator([pairs.dataset[0]])
    assert torch.equal(adapter.logits(loaded, batch), adapter.logits(trained, batch))
