"""Training on a quantized base, by bitsandbytes itself: it resumes, plain PEFT loads it, and it is scored as it is."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

from mmpref.align.merge_adapter import merge_adapter
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import UsageError
from mmpref.hub.cards.model import write_model_card
from mmpref.registry import resolve_path
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.vlm.test_tiny import inputs_of, picture
from tests.vlm.tiny import in_blocks

from .conftest import MODEL
from .cut import whole_and_cut

TRAINER = {
    "learning_rate": 1e-3,
    "max_steps": 4,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "save_steps": 2,
}


def recipe(model: str, data: Path, method: str = "dpo", **changes: Any) -> TrainRecipe:
    settings: dict[str, Any] = {"lora": LoraSettings(4, 8), "projector_learning_rate": 1e-4, "trainer": TRAINER}
    return TrainRecipe(model, (str(data),), method, **{**settings, **changes})


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that can be held in 4 bits."""
    return in_blocks(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs in the words of that model."""
    turn = List({"role": Value("string"), "content": Value("string")})
    features = Features({"images": List(Image()), "prompt": turn, "chosen": turn, "rejected": turn})
    made = [
        {
            "images": [picture(number)],
            "prompt": [{"role": "user", "content": "describe the picture ."}],
            "chosen": [{"role": "assistant", "content": f"w{number} w{number + 1} w2 ."}],
            "rejected": [{"role": "assistant", "content": f"w{number} w{number + 20} ."}],
        }
        for number in range(8)
    ]
    folder = tmp_path_factory.mktemp("words")
    Dataset.from_list(made, features=features).to_parquet(folder / "train.parquet")
    return folder


@pytest.fixture(scope="module")
def in_four(blocks: str, words: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A training in 4 bits, cut and gone on with."""
    folder = tmp_path_factory.mktemp("four")
    gpu_like = {**TRAINER, "gradient_checkpointing": True}
    whole, _ = whole_and_cut(recipe(blocks, words, quantization="4bit", trainer=gpu_like), folder)
    return folder / "whole", whole


def first_row(run: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    return row


def logits(model: Any, policy: Policy) -> torch.Tensor:
    with torch.inference_mode():
        said: torch.Tensor = model.eval()(**inputs_of(policy, [picture()])).logits
    return said


def test_four_bits(in_four: tuple[Path, dict[str, Any]], blocks: str) -> None:
    run, manifest = in_four
    assert manifest["modules"] == {"language_model": 14, "elsewhere": 0, "projector": 1}
    assert manifest["recipe"]["quantization"] == "4bit"
    assert manifest["versions"]["bitsandbytes"]
    assert manifest["quantization"] == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "float32",
        "llm_int8_skip_modules": ["lm_head", "model.multi_modal_projector", "model.vision_tower"],
    }
    assert manifest["prompt_shared"] is True
    assert manifest["probe"]["differs"] <= manifest["probe"]["tolerance"] < manifest["probe"]["changes"]
    # The policy begins as its reference, to the last bit: TRL's rounding of the projector was undone.
    assert first_row(run)["rewards/margins"] == 0.0
    saved = load_file(run / "adapter_model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32}
    assert all(saved[name].any() for name in saved if "lora_B" in name), "gradients reach the lowest layer"
    projector = load_policy(ModelRef(blocks)).base_model.model.multi_modal_projector.linear_1.weight
    trained = saved["base_model.model.model.multi_modal_projector.linear_1.weight"]
    assert 0 < (trained - projector).abs().max() < 1e-3


def test_plain_clients_load_it_as_the_card_says(in_four: tuple[Path, dict[str, Any]], blocks: str) -> None:
    run, manifest = in_four
    policy = load_policy(ModelRef(blocks, adapter=str(run)), quantization="4bit")
    write_model_card(run, manifest)
    card = (run / "README.md").read_text()
    assert "language model's weights in <code>4bit</code>" in card
    assert "merge_and_unload" not in card
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/the/base/model", blocks).replace("path/to/this/folder", str(run))
    names: dict[str, Any] = {}
    exec(code, names)
    said = logits(policy.model, policy)
    # On some CPUs bitsandbytes computes in bf16 where nobody keeps it from it.
    assert (logits(names["model"], policy) - said).abs().max() < 0.05 * said.abs().max()
    with policy.without_adapter():
        assert (logits(policy.model, policy) - said).abs().max() > 0.1


def test_it_is_scored_on_the_quantized_base(in_four: tuple[Path, dict[str, Any]], blocks: str, tmp_path: Path) -> None:
    run, _ = in_four
    settings = {"pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 4}}
    found = evaluate(
        EvaluateRecipe(blocks, ("pope",), adapter=str(run), benchmark=settings, limit=6, quantization="4bit"), tmp_path
    )
    assert {row["model"] for row in found["results"]} >= {"base", "adapter"}
    assert found["recipe"]["quantization"] == "4bit"


def test_it_is_merged_into_the_base_in_full(
    in_four: tuple[Path, dict[str, Any]], blocks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = in_four
    with caplog.at_level(logging.INFO, "mmpref"):
        merge_adapter(run, tmp_path)
    assert "in 4bit; it is merged into the weights in full" in caplog.text
    policy = load_policy(ModelRef(blocks, adapter=str(run)))
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert not hasattr(merged.config, "quantization_config")
    torch.testing.assert_close(logits(merged, policy), logits(policy.model, policy), atol=1e-4, rtol=0)


def test_mixed_precision_over_four_bits(blocks: str, words: Path, tmp_path: Path) -> None:
    half = {**TRAINER, "max_steps": 2, "bf16": True, "gradient_checkpointing": True}
    made = train(recipe(blocks, words, quantization="4bit", dtype="bfloat16", trainer=half), tmp_path / "run")
    assert made["quantization"]["bnb_4bit_compute_dtype"] == "bfloat16"
    assert made["probe"]["differs"] <= made["probe"]["tolerance"] < made["probe"]["changes"]
    saved = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert {value.dtype for name, value in saved.items() if "lora_" in name} == {torch.float32}
    assert {value.dtype for name, value in saved.items() if "projector" in name} == {torch.bfloat16}


@pytest.mark.long
def test_eight_bits_on_the_testbed(preferences: Path, tmp_path: Path) -> None:
    whole, again = whole_and_cut(recipe(MODEL, preferences, quantization="8bit"), tmp_path)
    run = tmp_path / "whole"
    assert whole["final"] == again["final"]
    assert whole["modules"] == {"language_model": 21, "elsewhere": 0, "projector": 1}
    assert whole["quantization"].keys() == {"load_in_8bit", "llm_int8_skip_modules"}
    assert whole["probe"]["differs"] <= whole["probe"]["tolerance"] < whole["probe"]["changes"]
    assert first_row(run)["rewards/margins"] == 0.0
    policy = load_policy(ModelRef(MODEL, adapter=str(run)), quantization="8bit")
    base = AutoModelForImageTextToText.from_pretrained(
        resolve_path(MODEL), dtype=torch.float32, quantization_config=BitsAndBytesConfig(**whole["quantization"])
    )
    ids = torch.tensor([range(5, 25)])
    with torch.inference_mode():
        plain = PeftModel.from_pretrained(base, str(run)).eval()(input_ids=ids).logits
        assert torch.equal(plain, policy.model(input_ids=ids).logits)


def test_small_steps_are_not_rounded_away(preferences: Path, tmp_path: Path) -> None:
    small = {**TRAINER, "learning_rate": 1e-6, "max_steps": 2, "per_device_train_batch_size": 8}
    train(recipe(MODEL, preferences, quantization="8bit", trainer=small, train_projector=False), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "adapter_model.safetensors")
    # TRL had cast them to bf16, where a step of 1e-6 is smaller than the gaps between most numbers.
    moved = torch.cat([value.flatten() for name, value in saved.items() if "lora_A" in name])
    assert (moved != moved.bfloat16()).float().mean() > 0.5


@pytest.mark.long
def test_a_reward_model_and_who_is_rewarded_by_it(preferences: Path, tmp_path: Path) -> None:
    short = {**TRAINER, "learning_rate": 3e-3, "max_steps": 2, "per_device_train_batch_size": 8}
    rewards = train(recipe(MODEL, preferences, "reward-model", quantization="8bit", trainer=short), tmp_path / "reward")
    assert rewards["probe"]["differs"] <= rewards["probe"]["tolerance"]
    loss = {"reward": str(tmp_path / "reward"), "max_answer_tokens": 8, "samples": 2}
    made = train(recipe(MODEL, preferences, "rloo", quantization="8bit", trainer=short, loss=loss), tmp_path / "rloo")
    assert made["steps"] == 2
    assert made["probe"]["changes"] > 0


def test_a_map_of_devices(preferences: Path, tmp_path: Path) -> None:
    spread = train(recipe(MODEL, preferences, device_map="auto"), tmp_path / "spread")
    alone = train(recipe(MODEL, preferences), tmp_path / "alone")
    assert spread["final"] == alone["final"]


def test_what_cannot_be_launched(preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match=r"cannot be sharded.*configuration ddp"):
        train(recipe(MODEL, preferences, quantization="8bit"), tmp_path / "run")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"device_map=auto spreads the model"):
        train(recipe(MODEL, preferences, device_map="auto"), tmp_path / "run")
