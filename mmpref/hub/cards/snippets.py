"""Python that a card shows: how what is published is loaded and used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmpref.hub_ids import is_commit

_TRUSTED = {True: ", trust_remote_code=True", False: ""}
"""The option of what runs code that comes with the model."""


def load_dataset(repo: str, split: str) -> str:
    """The data, with plain `datasets`."""
    return (
        "from datasets import load_dataset\n\n"
        f"dataset = load_dataset({json.dumps(repo)}, split={json.dumps(split)})\n"
        'print(dataset[0]["prompt"], dataset[0]["chosen"], dataset[0]["rejected"])'
    )


def load_merged(repo: str, trust_remote_code: bool = False) -> str:
    """A whole model, with plain transformers."""
    trusted = _TRUSTED[trust_remote_code]
    return (
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
        f"model = AutoModelForImageTextToText.from_pretrained({json.dumps(repo)}{trusted})\n"
        f"processor = AutoProcessor.from_pretrained({json.dumps(repo)}{trusted})"
    )


def load_rewards(
    base: str,
    repo: str,
    revision: str | None = None,
    quantization: str | None = None,
    trust_remote_code: bool = False,
) -> str:
    """A reward model, with mmpref, since its head is no part of transformers."""
    pin = f", {json.dumps(revision)}" if is_commit(revision) else ""
    option = f", quantization={json.dumps(quantization)}" if quantization else ""
    option += _TRUSTED[trust_remote_code]
    return (
        "from PIL import Image\n\n"
        "from mmpref.types import Message, ModelRef\n"
        "from mmpref.vlm.reward_model import RewardModel\n\n"
        'image = Image.open("photo.jpg")  # one of yours\n'
        f"model = RewardModel.load(ModelRef({json.dumps(base)}{pin}, adapter={json.dumps(repo)}){option})\n"
        'values = model.score([image], [Message("user", "Describe the image.")], ["A cat.", "A dog."])'
    )


WRITTEN_OUT = """\
def written(messages, **options):
    return processor.apply_chat_template(messages, tokenize=False, **options)


def written_out(row):
    *before, last = prompt = prepare_multimodal_messages(row["prompt"], row["images"])
    goes_on = last["role"] == "assistant"
    texts = {"prompt": written(prompt, continue_final_message=goes_on, add_generation_prompt=not goes_on)}
    for name in ("chosen", "rejected"):
        answer = row[name][0]["content"]
        if goes_on:
            answer = last["content"][0]["text"] + answer
        turn = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        texts[name] = written([*(before if goes_on else prompt), turn]).removeprefix(texts["prompt"])
    return texts
"""
"""Python that writes a row's messages out in a model's prompt format, with ``processor`` and TRL's
``prepare_multimodal_messages``, so that TRL takes what continues a context for that."""


def train_with_trl(repo: str, split: str, contexts: bool = False) -> str:
    """A training on the data, with plain TRL.

    Args:
        contexts: some answers continue a context.
    """
    rows = f"load_dataset({json.dumps(repo)}, split={json.dumps(split)})"
    imports = "from trl.data_utils import prepare_multimodal_messages\n" if contexts else ""
    before = f"processor = AutoProcessor.from_pretrained(base)\n\n\n{WRITTEN_OUT}\n\n" if contexts else ""
    return (
        "from datasets import load_dataset\n"
        "from peft import LoraConfig\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        f"from trl import DPOConfig, DPOTrainer\n{imports}\n"
        f'base = "llava-hf/llava-v1.6-vicuna-7b-hf"  # any vision-language model\n{before}'
        "trainer = DPOTrainer(\n"
        "    model=AutoModelForImageTextToText.from_pretrained(base),\n"
        '    args=DPOConfig(output_dir="out", max_length=None),\n'
        f"    train_dataset={rows}{'.map(written_out)' if contexts else ''},\n"
        f"    processing_class={'processor' if contexts else 'AutoProcessor.from_pretrained(base)'},\n"
        '    peft_config=LoraConfig(target_modules="all-linear"),\n'
        ")\n"
        "trainer.train()"
    )


def load_adapter(
    base: str,
    revision: str | None,
    adapter: str,
    quantization: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> str:
    """An adapter on its base, with plain PEFT.

    Args:
        quantization: the arguments of ``BitsAndBytesConfig`` that the base was loaded with for training.
    """
    pin = f", revision={json.dumps(revision)}" if is_commit(revision) else ""
    imports, config, option, trusted = "", "", "", _TRUSTED[trust_remote_code]
    merge = "\nmodel = model.merge_and_unload()  # optional: one ordinary model, without the adapter's cost"
    if quantization:
        lines = "".join(f"    {name}={value!r},\n" for name, value in quantization.items())
        imports, merge = ", BitsAndBytesConfig", ""
        config, option = f"config = BitsAndBytesConfig(\n{lines})\n", ", quantization_config=config"
    return (
        "from peft import PeftModel\n"
        f"from transformers import AutoModelForImageTextToText, AutoProcessor{imports}\n\n"
        f"{config}"
        f"base = AutoModelForImageTextToText.from_pretrained({json.dumps(base)}{pin}{option}{trusted})\n"
        f"model = PeftModel.from_pretrained(base, {json.dumps(adapter)})\n"
        f"processor = AutoProcessor.from_pretrained({json.dumps(adapter)}{trusted})"
        f"{merge}"
    )
