"""Adapters of every PEFT kind that stands in a model's layers, whole or refused with the names of what does not fit."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from mmpref.errors import ModelError, UsageError
from mmpref.registry import resolve_path
from mmpref.types import Message, ModelRef
from mmpref.vlm.adapters import check_files
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.smoke_test import picture
from tests.vlm.tiny import parts

MODEL = "pkg:mmpref.testbed/model"
FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ATTENTION = r".*language_model.*(q_proj|v_proj)"
KINDS: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
    "lora with projector": lambda: peft.LoraConfig(
        r=2, target_modules=ATTENTION, modules_to_save=["multi_modal_projector"]
    ),
    "lora with biases": lambda: peft.LoraConfig(r=2, target_modules=["q_proj", "linear_1"], bias="all"),
    "lora of embeddings": lambda: peft.LoraConfig(r=2, target_modules=["embed_tokens"]),
    "dora": lambda: peft.LoraConfig(r=2, target_modules="all-linear", use_dora=True),
    "whole embeddings": lambda: peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "lora and tokens": lambda: peft.LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[5, 6]),
    "tokens": lambda: peft.TrainableTokensConfig(token_indices=[5, 6], target_modules=["embed_tokens"]),
    "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "lokr": lambda: peft.LoKrConfig(r=2, target_modules=ATTENTION),
    "loha": lambda: peft.LoHaConfig(r=2, target_modules=ATTENTION),
    "adalora": lambda: peft.AdaLoraConfig(init_r=4, target_r=2, total_step=9, target_modules=ATTENTION),
    "vera": lambda: peft.VeraConfig(r=4, target_modules=ATTENTION, save_projection=False),
    "oft": lambda: peft.OFTConfig(oft_block_size=4, r=0, target_modules=ATTENTION),
    "boft": lambda: peft.BOFTConfig(boft_block_size=4, target_modules=ATTENTION),
    "hra": lambda: peft.HRAConfig(r=4, target_modules=ATTENTION),
    "norms": lambda: peft.LNTuningConfig(target_modules=r".*language_model.*norm"),
    "vision": lambda: peft.LoraConfig(r=2, target_modules=r".*vision_tower.*q_proj"),
}


@cache
def _loaded() -> Any:
    return AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL))


def base_model() -> Any:
    """The testbed's model by transformers alone, for PEFT to put into it what it likes."""
    return copy.deepcopy(_loaded())


def made(kind: str, folder: Path, amount: float = 0.05) -> Path:
    """An adapter as PEFT saves it, its first weights moved by noise."""
    torch.manual_seed(0)
    adapted = peft.get_peft_model(base_model(), KINDS[kind]())
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * amount)
    adapted.save_pretrained(str(folder))
    return folder


def load(adapter: Path, model: str = MODEL) -> Policy:
    return load_policy(ModelRef(model, adapter=str(adapter)))


def logits(model: Any, policy: Policy) -> torch.Tensor:
    inputs = policy.prompter.prepare([Message("user", "Describe the image.")], [picture()])
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(**inputs).logits
    return found


def rewrite(adapter: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(adapter / FILE)), adapter / FILE)


def say(adapter: Path, **changes: Any) -> None:
    content = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**content, **changes}))


def old(name: str) -> str:
    """As transformers named it before 4.52."""
    for now, before in {
        "model.model.language_model.": "model.language_model.model.",
        "model.model.multi_modal_projector.": "model.multi_modal_projector.",
        "model.model.vision_tower.": "model.vision_tower.vision_model.",
    }.items():
        name = name.replace(f"base_model.{now}", f"base_model.{before}")
    return name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_loads_and_changes_the_model(kind: str, tmp_path: Path) -> None:
    policy = load(made(kind, tmp_path))
    own = base_model()
    with policy.without_adapter():
        assert torch.equal(logits(policy.model, policy), logits(own, policy))
    expected = logits(peft.PeftModel.from_pretrained(own, str(tmp_path)), policy)
    torch.testing.assert_close(logits(policy.model, policy), expected, atol=1e-4, rtol=0)


def test_embeddings_that_were_saved_beside_an_adapter_leave_with_it(tmp_path: Path) -> None:
    """PEFT writes them over the base's, and switching the adapter off does not bring those back."""
    name = "base_model.model.model.language_model.embed_tokens.weight"
    rewrite(made("lora", tmp_path), lambda weights: {**weights, name: torch.ones(len(_embeddings()), 96)})
    policy = load(tmp_path)
    assert torch.equal(policy.embed(torch.arange(9)), torch.ones(9, 96))
    with policy.without_adapter():
        assert torch.equal(policy.embed(torch.arange(9)), _embeddings()[:9])
    assert torch.equal(policy.embed(torch.arange(9)), torch.ones(9, 96))


def _embeddings() -> torch.Tensor:
    weights = load_file(Path(resolve_path(MODEL)) / "model.safetensors")
    return next(value for name, value in weights.items() if name.endswith("embed_tokens.weight"))


@pytest.mark.parametrize("kind", ["lora", "ia3", "norms", "lora with projector", "dora"])
def test_one_that_changes_nothing_is_refused(kind: str, tmp_path: Path) -> None:
    made(kind, tmp_path, amount=0)
    with pytest.raises(ModelError, match=r"changes nothing in pkg:mmpref\.testbed/model"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["lora", "lora with projector", "ia3"])
def test_the_names_of_before_4_52(kind: str, tmp_path: Path) -> None:
    expected = logits((policy := load(made(kind, tmp_path))).model, policy)
    rewrite(tmp_path, lambda weights: {old(name): value for name, value in weights.items()})
    assert any(".language_model.model." in name for name in load_file(tmp_path / FILE))
    assert torch.equal(logits((again := load(tmp_path)).model, again), expected)
    check_files(tmp_path, ModelRef(MODEL))


@pytest.mark.parametrize(
    ("kind", "lost", "says"),
    [
        ("lora", "layers.1.self_attn.q_proj.lora_B", r"lacks 2 of the .*: \S*layers\.1\.self_attn\.q_proj\.lora_B"),
        ("lora with projector", "projector", r"lacks 4 of the .*: model\.multi_modal_projector\.linear_1\.weight"),
        ("whole embeddings", "embed_tokens", r"lacks 1 of the .*: model\.language_model\.embed_tokens\.weight"),
        ("lora and tokens", "token_adapter", r"lacks 1 of the .*embed_tokens.*trainable_tokens"),
        ("ia3", "layers.0", r"lacks \d+ of the .*ia3_l"),
    ],
)
def test_one_that_lacks_weights_is_refused_with_their_names(kind: str, lost: str, says: str, tmp_path: Path) -> None:
    made(kind, tmp_path)
    rewrite(tmp_path, lambda weights: {name: value for name, value in weights.items() if lost not in name})
    for attempt in (lambda: load(tmp_path), lambda: check_files(tmp_path, ModelRef(MODEL))):
        with pytest.raises(ModelError, match=says):
            attempt()


def test_one_that_holds_others_is_refused_with_their_names(tmp_path: Path) -> None:
    say(made("lora", tmp_path), target_modules=["q_proj"])
    for attempt in (lambda: load(tmp_path), lambda: check_files(tmp_path, ModelRef(MODEL))):
        with pytest.raises(ModelError, match=r"holds 12 that this model has no place for: \S*v_proj\.lora_A\.weight"):
            attempt()


def test_one_of_another_base(tmp_path: Path) -> None:
    for part in parts("llava_next"):
        part.save_pretrained(tmp_path / "other")
    made("lora", tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"size mismatch.*names \S*testbed/model as its base: is that the --model"):
        load(tmp_path / "adapter", str(tmp_path / "other"))


def test_prompts_that_were_learned_stand_beside_the_model(tmp_path: Path) -> None:
    say(made("lora", tmp_path), peft_type="PROMPT_TUNING", task_type="CAUSAL_LM", num_virtual_tokens=4)
    with pytest.raises(ModelError, match="learned prompts"):
        load(tmp_path)


@pytest.mark.parametrize("begun", ["pissa", "pissa_niter_2", "olora", "loftq", "lora_ga", "kasa"])
def test_one_that_takes_its_beginning_off_the_base(begun: str, tmp_path: Path) -> None:
    """PEFT does so again whenever it puts the layers on, and does not give it back when they are switched off."""
    changes = {"kasa_config": {"beta": 1e-4}} if begun == "kasa" else {"init_lora_weights": begun}
    say(made("lora", tmp_path), **changes)
    with pytest.raises(ModelError, match=rf"'{begun}' in its {CONFIG}.*the model would not be the base"):
        load(tmp_path)


@pytest.mark.parametrize("begun", [False, "gaussian", "orthogonal", "mica"])
def test_one_whose_beginning_leaves_the_base_alone(begun: bool | str, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=begun)  # type: ignore[arg-type]
    adapted = peft.get_peft_model(base_model(), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.add_(0.05)
    adapted.save_pretrained(str(tmp_path))
    with (policy := load(tmp_path)).without_adapter():
        assert torch.equal(logits(policy.model, policy), logits(base_model(), policy))


def test_one_that_was_converted_to_plain_lora(tmp_path: Path) -> None:
    """As the message says, from the adapter that training began with."""
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa")
    adapted = peft.get_peft_model(base_model(), config)
    adapted.peft_config["default"].init_lora_weights = True  # type: ignore[index, union-attr]
    adapted.save_pretrained(str(tmp_path / "begun"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.add_(0.05)
    first = str(tmp_path / "begun")
    adapted.save_pretrained(str(tmp_path / "converted"), path_initial_model_for_weight_conversion=first)
    policy = load(tmp_path / "converted")
    torch.testing.assert_close(logits(policy.model, policy), logits(adapted, policy), atol=1e-3, rtol=0)
    with policy.without_adapter():
        assert torch.equal(logits(policy.model, policy), logits(base_model(), policy))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (made("lora", tmp_path) / FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelError, match=r"Its weights are not whole: .*Git LFS"):
        load(tmp_path)


def test_one_that_makes_no_numbers(tmp_path: Path) -> None:
    made("lora", tmp_path)
    rewrite(
        tmp_path,
        lambda weights: {
            name: value * (1 if "vision_tower" in name else float("nan")) for name, value in weights.items()
        },
    )
    with pytest.raises(ModelError, match=r"With the adapter, .* makes no numbers"):
        load(tmp_path)


def test_adapter_and_model_mixed_up(tmp_path: Path) -> None:
    adapter = made("lora", tmp_path / "adapter")
    with pytest.raises(ModelError, match=rf"is an adapter, not a model\. Use --model=\S+/model --adapter={adapter}"):
        load_policy(ModelRef(str(adapter)))
    with pytest.raises(ModelError, match=f"no adapter: it has no {CONFIG}. It is a model: give it as --model"):
        load(Path(resolve_path(MODEL)))
    # transformers would load the base that the adapter names, and none of the folder's own weights.
    shutil.copytree(resolve_path(MODEL), adapter, dirs_exist_ok=True)
    with pytest.raises(ModelError, match="is an adapter, not a model"):
        load_policy(ModelRef(str(adapter)))


@pytest.mark.parametrize(
    "ref",
    [ModelRef("https://huggingface.co/a/b"), ModelRef(MODEL, adapter="https://huggingface.co/a/b")],
    ids=["model", "adapter"],
)
def test_a_pasted_address(ref: ModelRef) -> None:
    with pytest.raises(UsageError, match="Give the id a/b"):
        load_policy(ref)
