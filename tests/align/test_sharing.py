"""A step that runs shared parts once against TRL's own trainer: the same loss and the same gradients, in fp32."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from trl import DPOTrainer

from mmpref.align import trl_options
from mmpref.align.adapter import lora_config
from mmpref.align.collator import PreferenceCollator
from mmpref.align.feature_cache import FeatureCache
from mmpref.align.method import METHODS
from mmpref.align.pair_source import SourceContext
from mmpref.align.preference_data import OTHER_PAIR, REJECTED_POLICY, ROW
from mmpref.align.recipe import LoraSettings
from mmpref.align.reference_cache import ReferenceLogProbCache
from mmpref.align.trainer import PreferenceTrainer
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from mmpref.vlm.vision_tower import VisionTower
from tests.vlm.tiny import tiny

FAMILIES = ["llava_next", "qwen2_5_vl", "smolvlm", "internvl", "qwen3_vl", "gemma3"]
ANSWERS = (("w1 w2 w3 w4 .", "w1 w2 w5 ."), ("w6 w7 .", "w8 w9 w10 w11 w12 ."), ("w3 w4 w5", "w3 w4 w5 w6 ."))
SIZES = ((24, 40), (40, 24), (24, 24))
CHECKPOINTING = {"llava_next": False, "qwen2_5_vl": True, "smolvlm": False, "internvl": True, "qwen3_vl": True}
"""`test_a_step_is_trls` runs every family both ways; what else a step may be is run with every family and both ways."""


def rows() -> list[dict[str, Any]]:
    """Three pairs: different image sizes, answers that differ early and late."""
    made = []
    for number, ((chosen, rejected), (height, width)) in enumerate(zip(ANSWERS, SIZES, strict=True)):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        made.append(
            {
                "images": [Image.fromarray(pixels)],
                "prompt": [{"role": "user", "content": "describe the picture ." + " w1" * number}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            }
        )
    return made


@cache
def dataset() -> Dataset:
    """What a trainer is made with; steps get their rows by themselves."""
    return Dataset.from_list(rows())


SIGMOID: dict[str, Any] = {"loss_type": ["sigmoid"], "beta": 0.1}


def make(
    kind: type[DPOTrainer],
    of: Policy,
    folder: Path,
    checkpointing: bool,
    loss: dict[str, Any] = SIGMOID,
    **ours: Any,
) -> DPOTrainer:
    """A trainer with LoRA on the language model and the projector in full; the same initial adapter every time."""
    used = trl_options.resolve(
        {"per_device_train_batch_size": 3, "gradient_checkpointing": checkpointing},
        loss,
        seed=3,
        dtype="float32",
        dropout=False,
    )
    torch.manual_seed(1)
    trainer = kind(
        model=of.model,
        args=trl_options.config(used, folder),
        train_dataset=dataset(),
        processing_class=of.processor,
        peft_config=lora_config(of, LoraSettings(4, 8), True),
        **ours,
    )
    # LoRA begins as nothing, so that half of its gradients would be zero.
    generator = torch.Generator().manual_seed(2)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return trainer


def step(trainer: DPOTrainer, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def assert_equal(got: tuple[float, dict[str, torch.Tensor]], expected: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    assert got[1].keys() == expected[1].keys()
    assert any("modules_to_save" in name for name in expected[1])
    for name, gradient in expected[1].items():
        difference, size = float((got[1][name] - gradient).norm()), float(gradient.norm())
        assert difference <= (1e-5 * size if size >= 1e-6 else 1e-7), (name, difference, size)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_is_trls(name: str, checkpointing: bool, tmp_path: Path) -> None:
    theirs = make(DPOTrainer, tiny(name), tmp_path / "a", checkpointing)
    expected = step(theirs, theirs.data_collator(rows()))
    policy = tiny(name)
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        checkpointing,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy),
        reference=ReferenceLogProbCache(tmp_path / "reference.f32", 3),
    )
    numbered = [{**row, ROW: number} for number, row in enumerate(rows())]
    batch = ours.data_collator(numbered)
    assert_equal(step(ours, batch), expected)
    assert_equal(step(ours, batch), expected)  # with the reference's log-probabilities out of the file


@pytest.mark.parametrize("share", [False, True])
def test_summed_ipo_is_the_naive_one(share: bool, tmp_path: Path) -> None:
    """Whole sequences and plain logits, ratios summed over tokens as IPO's paper writes them."""
    settings = METHODS.get("ipo").settings(summed=True)
    ipo = {"loss_type": ["ipo"], "beta": settings.beta}
    summed = METHODS.get("ipo").trainer(settings)
    theirs = make(DPOTrainer, tiny("llava_next"), tmp_path / "a", False, ipo)
    theirs.model.train()
    theirs.model.zero_grad()
    swapped = [{**row, "chosen": row["rejected"]} for row in rows()]
    difference = naive_ratio(theirs, rows()) - naive_ratio(theirs, swapped)
    loss = ((difference - 1 / (2 * settings.beta)) ** 2).mean()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in theirs.model.named_parameters() if p.grad is not None}
    policy = tiny("llava_next")
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        False,
        summed,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        pairwise=METHODS.get("ipo").pairwise(settings),
        shared=SharedForward(policy) if share else None,
    )
    assert_equal(step(ours, ours.data_collator(rows())), (loss.item(), gradients))
    averaged = make(DPOTrainer, tiny("llava_next"), tmp_path / "c", False, ipo)
    assert step(averaged, averaged.data_collator(rows()))[0] != pytest.approx(loss.item(), rel=1e-3)


def test_a_mixture_of_experts_is_trained_as_trl_does(tmp_path: Path) -> None:
    """Its router's loss counts every token, so nothing is shared."""
    theirs = make(DPOTrainer, tiny("qwen3_vl_moe"), tmp_path / "a", False)
    expected = step(theirs, theirs.data_collator(rows()))
    policy = tiny("qwen3_vl_moe")
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        False,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy),
    )
    assert ours.shared is None
    assert_equal(step(ours, ours.data_collator(rows())), expected)


@pytest.mark.parametrize("name", [*FAMILIES, "idefics2", "idefics3", "llava_pixtral"])
def test_a_step_on_kept_features_is_the_one_without(name: str, tmp_path: Path) -> None:
    """Policy and reference project the same features, each by its own projector; the tower does not run again."""
    checkpointing = CHECKPOINTING.get(name, False)
    numbered = [{**row, ROW: number} for number, row in enumerate(rows())]

    def made(folder: str, features: FeatureCache | None) -> tuple[DPOTrainer, Policy]:
        policy = tiny(name)
        trainer = make(
            PreferenceTrainer,
            policy,
            tmp_path / folder,
            checkpointing,
            projector_learning_rate=1e-3,
            data_collator=PreferenceCollator(policy.processor),
            shared=SharedForward(policy),
            features=features,
        )
        generator = torch.Generator().manual_seed(4)
        for key, parameter in trainer.model.named_parameters():
            if "modules_to_save" in key:  # or policy and reference would have equal projectors
                parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return trainer, policy

    plain, _ = made("a", None)
    expected = step(plain, plain.data_collator(numbered))
    kept = FeatureCache(tmp_path / "features.bin", 1e9)
    trainer, policy = made("b", kept)
    assert_equal(step(trainer, trainer.data_collator(numbered)), expected)
    again, policy = made("c", FeatureCache(tmp_path / "features.bin", 1e9))
    ran = []
    for layer in VisionTower(policy)._layers():
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(lambda *_: ran.append(1))
    blank = again.data_collator(numbered)
    blank["pixel_values"] = torch.full_like(blank["pixel_values"], 0.5)
    if name != "idefics2":  # whose processor pads images by their batch: features of single rows do not fit it
        assert_equal(step(again, blank), expected)
        assert not ran
    some = [numbered[2], numbered[0]]  # rows in other company
    assert_equal(step(again, again.data_collator(some)), step(plain, plain.data_collator(some)))


SECONDS = ("w2 w4 .", "w6 w7 w8 .", "w3 .")


@pytest.mark.parametrize("name", FAMILIES)
def test_an_averaged_step_is_two_of_trls(name: str, tmp_path: Path) -> None:
    """One pass over prompt and three answers against two stock steps over two sequences each."""
    gamma, checkpointing = 0.3, not CHECKPOINTING.get(name, False)
    theirs = make(DPOTrainer, tiny(name), tmp_path / "a", checkpointing)
    second = [
        {**row, "rejected": [{"role": "assistant", "content": text}]} for row, text in zip(rows(), SECONDS, strict=True)
    ]
    first, other = (step(theirs, theirs.data_collator(batch)) for batch in (rows(), second))
    expected = (
        gamma * first[0] + (1 - gamma) * other[0],
        {key: gamma * gradient + (1 - gamma) * other[1][key] for key, gradient in first[1].items()},
    )
    policy = tiny(name)
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        checkpointing,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy),
        reference=ReferenceLogProbCache(tmp_path / "reference.f32", 3, 2),
        weights=(gamma, 1 - gamma),
    )
    numbered = [
        {**row, ROW: number, REJECTED_POLICY: [{"role": "assistant", "content": SECONDS[number]}]}
        for number, row in enumerate(rows())
    ]
    batch = ours.data_collator(numbered)
    assert_equal(step(ours, batch), expected)
    assert_equal(step(ours, batch), expected)  # with the reference's log-probabilities out of the file
    alone = make(
        PreferenceTrainer,
        tiny(name),
        tmp_path / "c",
        checkpointing,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        weights=(gamma, 1 - gamma),
    )
    assert_equal(step(alone, alone.data_collator(numbered)), expected)  # without sharing


def naive_ratio(trainer: DPOTrainer, made: list[dict[str, Any]]) -> torch.Tensor:
    """Log-ratio [B] of policy to reference of the chosen answers, by whole sequences and plain logits."""
    batch = trainer.data_collator([{**row, "rejected": row["chosen"]} for row in made])
    mask = batch.pop("completion_mask")[:, 1:].bool()

    def log_probs() -> torch.Tensor:
        logits = trainer.model(**batch).logits[:, :-1].log_softmax(-1)
        return (logits.gather(2, batch["input_ids"][:, 1:, None])[..., 0] * mask).sum(1).chunk(2)[0]

    with torch.no_grad(), trainer.model.disable_adapter():
        reference = log_probs()
    return log_probs() - reference


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "smolvlm", "internvl"])
def test_an_mdpo_step_is_the_naive_one(name: str, tmp_path: Path) -> None:
    """DPO by TRL's stock trainer, the conditional and the anchor's term by whole sequences and plain logits."""
    checkpointing = CHECKPOINTING[name]
    made = METHODS.get("mdpo")
    settings = made.settings(beta=0.2, delta=0.1, conditional=0.7, anchor=0.4)
    policy = tiny(name)
    source = made.source(SourceContext(policy, 0, lambda _: ()), settings)  # type: ignore[misc]
    numbered = [dict(row) for row in source([{**row, ROW: n} for n, row in enumerate(rows())], 5).rows]
    sizes = [[image.size for image in row["images"]] for row in numbered]
    assert sizes == [[image.size for image in row[OTHER_PAIR]["images"]] for row in numbered]
    assert [row[OTHER_PAIR]["images"][0].tobytes() for row in numbered] != [
        row["images"][0].tobytes() for row in numbered
    ]
    again = source([{**row, ROW: n} for n, row in enumerate(rows())], 5).rows
    assert [row[OTHER_PAIR]["images"][0].tobytes() for row in again] == [
        row[OTHER_PAIR]["images"][0].tobytes() for row in numbered
    ]

    theirs = make(DPOTrainer, tiny(name), tmp_path / "a", checkpointing, made.trainer(settings))
    theirs.model.train()
    loss = theirs.compute_loss(theirs.model, dict(theirs.data_collator(rows())))
    plain = rows()
    cropped = [{**row, "images": shown[OTHER_PAIR]["images"]} for row, shown in zip(rows(), numbered, strict=True)]
    whole, part = naive_ratio(theirs, plain), naive_ratio(theirs, cropped)
    loss = loss - 0.7 * torch.nn.functional.logsigmoid(0.2 * (whole - part)).mean()
    loss = loss - 0.4 * torch.nn.functional.logsigmoid(0.2 * whole - 0.1).mean()
    theirs.model.zero_grad()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in theirs.model.named_parameters() if p.grad is not None}

    for shared in (SharedForward(policy), None):
        ours = make(
            PreferenceTrainer,
            policy if shared else tiny(name),
            tmp_path / "b",
            checkpointing,
            made.trainer(settings),
            projector_learning_rate=1e-3,
            shared=shared,
            data_collator=PreferenceCollator(policy.processor),
            terms=made.terms(settings),
            other_images=True,
        )  # type: ignore[misc]
        assert_equal(step(ours, ours.data_collator([dict(row) for row in numbered])), (loss.item(), gradients))


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl"])
@pytest.mark.parametrize(
    "loss",
    [
        {"loss_type": ["ipo"], "beta": 0.9},
        {"loss_type": ["hinge"], "beta": 0.1},
        {"loss_type": ["sft"]},
        {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0], "beta": 0.1},
    ],
    ids=["ipo", "hinge", "sft", "mpo"],
)
def test_a_step_of_every_offline_loss_is_trls(name: str, loss: dict[str, Any], tmp_path: Path) -> None:
    theirs = make(DPOTrainer, tiny(name), tmp_path / "a", False, loss)
    expected = step(theirs, theirs.data_collator(rows()))
    policy = tiny(name)
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        False,
        loss,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy),
    )
    assert_equal(step(ours, ours.data_collator(rows())), expected)


def test_images_are_prepared_once_and_batches_are_trls(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    policy = tiny("llava_next")
    theirs = DataCollatorForVisionPreference(policy.processor)(rows())
    prepared: list[int] = []
    pixels = type(policy.processor.image_processor)
    preprocess = pixels.preprocess

    def counted(self: Any, images: Any, *args: Any, **settings: Any) -> Any:
        prepared.append(len(images))
        return preprocess(self, images, *args, **settings)

    monkeypatch.setattr(pixels, "preprocess", counted)
    ours = PreferenceCollator(policy.processor)(rows())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert sum(prepared) == 3


def test_the_reference_is_asked_once_a_row_and_survives_a_restart(tmp_path: Path) -> None:
    asked: list[str] = []

    def compute(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(name)
        return torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -4.0])

    known = ReferenceLogProbCache(tmp_path / "reference", 4)
    batch = torch.tensor([2, 0])
    for kept in (known, known, ReferenceLogProbCache(tmp_path / "reference", 4)):
        [(chosen, rejected)] = kept.get(batch, lambda: [compute("first")])
        assert chosen.tolist() == [-1.0, -2.0]
        assert rejected.tolist() == [-3.0, -4.0]
    assert asked == ["first"]
    known.get(torch.tensor([1, 3]), lambda: [compute("second")])
    assert asked == ["first", "second"]
