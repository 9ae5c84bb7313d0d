"""Python that a card shows: how what is published is loaded and used."""

from __future__ import annotations

import json

from .private import is_commit


def load_dataset(place: str, split: str) -> str:
    """The data, with plain `datasets`."""
    return (
        "from datasets import load_dataset\n\n"
        f"dataset = load_dataset({json.dumps(place)}, split={json.dumps(split)})\n"
        'print(dataset[0]["prompt"], dataset[0]["chosen"], dataset[0]["rejected"])'
    )


def load_merged(place: str) -> str:
    """A whole model, with plain transformers."""
    return (
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
        f"model = AutoModelForImageTextToText.from_pretrained({json.dumps(place)})\n"
        f"processor = AutoProcessor.from_pretrained({json.dumps(place)})"
    )


def load_rewards(base: str, place: str) -> str:
    """A reward model, with mmpref, since its head is no part of transformers."""
    return (
        "from mmpref.types import Message, ModelRef\n"
        "from mmpref.vlm.value import RewardModel\n\n"
        f"model = RewardModel.load(ModelRef({json.dumps(base)}, adapter={json.dumps(place)}))\n"
        'values = model.score([image], [Message("user", "Describe the image.")], ["A cat.", "A dog."])'
    )


def train_with_trl(place: str, split: str) -> str:
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
        f"    train_dataset=load_dataset({json.dumps(place)}, split={json.dumps(split)}),\n"
        "    processing_class=AutoProcessor.from_pretrained(base),\n"
        '    peft_config=LoraConfig(target_modules="all-linear"),\n'
        ")\n"
        "trainer.train()"
    )


def load_adapter(base: str, revision: str | None, adapter: str) -> str:
    """An adapter on its base, with plain PEFT."""
    pin = f", revision={json.dumps(revision)}" if is_commit(revision) else ""
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
        f"base = AutoModelForImageTextToText.from_pretrained({json.dumps(base)}{pin})\n"
        f"model = PeftModel.from_pretrained(base, {json.dumps(adapter)})\n"
        f"processor = AutoProcessor.from_pretrained({json.dumps(adapter)})\n"
        "model = model.merge_and_unload()  # optional: one ordinary model, without the adapter's cost"
    )
