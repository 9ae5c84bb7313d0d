"""Python that a card shows: how what is published is loaded and used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmpref.hub_ids import is_commit


def load_dataset(repo: str, split: str) -> str:
    """The data, with plain `datasets`."""
    return (
        "from datasets import load_dataset\n\n"
        f"dataset = load_dataset({json.dumps(repo)}, split={json.dumps(split)})\n"
        'print(dataset[0]["prompt"], dataset[0]["chosen"], dataset[0]["rejected"])'
    )


def load_merged(repo: str) -> str:
    """A whole model, with plain transformers."""
    return (
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
        f"model = AutoModelForImageTextToText.from_pretrained({json.dumps(repo)})\n"
        f"processor = AutoProcessor.from_pretrained({json.dumps(repo)})"
    )


def load_rewards(base: str, repo: str, quantization: str | None = None) -> str:
    """A reward model, with mmpref, since its head is no part of transformers."""
    option = f", quantization={json.dumps(quantization)}" if quantization else ""
    return (
        "from mmpref.types import Message, ModelRef\n"
        "from mmpref.vlm.reward_model import RewardModel\n\n"
        f"model = RewardModel.load(ModelRef({json.dumps(base)}, adapter={json.dumps(repo)}){option})\n"
        'values = model.score([image], [Message("user", "Describe the image.")], ["A cat.", "A dog."])'
    )


def train_with_trl(repo: str, split: str) -> str:
    """A training on the data, with plain TRL."""
    return (
        "from datasets import load_dataset\n"
        "from peft import LoraConfig\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        "from trl import DPOConfig, DPOTrainer\n\n"
        'base = "llava-hf/llava-v1.6-vicuna-7b-hf"  # any vision-language model\n'
        "trainer = DPOTrainer(\n"
        "    model=AutoModelForImageTextToText.from_pretrained(base),\n"
        '    args=DPOConfig(output_dir="out", max_length=None),\n'
        f"    train_dataset=load_dataset({json.dumps(repo)}, split={json.dumps(split)}),\n"
        "    processing_class=AutoProcessor.from_pretrained(base),\n"
        '    peft_config=LoraConfig(target_modules="all-linear"),\n'
        ")\n"
        "trainer.train()"
    )


def load_adapter(base: str, revision: str | None, adapter: str, quantization: Mapping[str, Any] | None = None) -> str:
    """An adapter on its base, with plain PEFT.

    Args:
        quantization: the arguments of ``BitsAndBytesConfig`` that the base was loaded with for training.
    """
    pin = f", revision={json.dumps(revision)}" if is_commit(revision) else ""
    imports, config, option = "", "", ""
    merge = "\nmodel = model.merge_and_unload()  # optional: one ordinary model, without the adapter's cost"
    if quantization:
        lines = "".join(f"    {name}={value!r},\n" for name, value in quantization.items())
        imports, merge = ", BitsAndBytesConfig", ""
        config, option = f"config = BitsAndBytesConfig(\n{lines})\n", ", quantization_config=config"
    return (
        "from peft import PeftModel\n"
        f"from transformers import AutoModelForImageTextToText, AutoProcessor{imports}\n\n"
        f"{config}"
        f"base = AutoModelForImageTextToText.from_pretrained({json.dumps(base)}{pin}{option})\n"
        f"model = PeftModel.from_pretrained(base, {json.dumps(adapter)})\n"
        f"processor = AutoProcessor.from_pretrained({json.dumps(adapter)})"
        f"{merge}"
    )
