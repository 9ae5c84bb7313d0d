"""Models as people meet them, and adapters as other tools save them, with weights that are not zero."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from mmpref.registry import resolve_path

from .commands import MODEL

FILE = "adapter_model.safetensors"
TEXT_ONLY = (
    "{{ bos_token }}{% for m in messages %}{% if m['role']=='user' %}<user>{{ m['content'] }}{% else %}<assistant>"
    "{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""A language model's own template, which knows no parts."""


def copy(folder: Path) -> Path:
    return Path(shutil.copytree(resolve_path(MODEL), folder, copy_function=shutil.copyfile))


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _without(file: str, *names: str) -> Callable[[Path], None]:
    return lambda path: edit(path / file, lambda content: [content.pop(name, None) for name in names])


def _no_pad_token(path: Path) -> None:
    _without("tokenizer_config.json", "pad_token")(path)
    _without("generation_config.json", "pad_token_id")(path)
    edit(path / "config.json", lambda content: content["text_config"].pop("pad_token_id"))


def _sampling_flags(path: Path) -> None:
    flags = {"do_sample": False, "temperature": 0.9, "top_p": 0.6, "max_length": 4096}
    edit(path / "generation_config.json", lambda content: content.update(flags))


def _template(path: Path) -> str:
    text = (path / "chat_template.jinja").read_text()
    (path / "chat_template.jinja").unlink()
    return text


def _in_tokenizer(path: Path) -> None:
    edit(path / "tokenizer_config.json", lambda content: content.update(chat_template=_template(path)))


def _legacy(path: Path) -> None:
    (path / "chat_template.json").write_text(json.dumps({"chat_template": _template(path)}))


def _for_text(path: Path) -> None:
    (path / "chat_template.jinja").write_text(TEXT_ONLY)


MODELS: dict[str, Callable[[Path], None]] = {
    "no_patch_size": _without(
        "processor_config.json", "patch_size", "vision_feature_select_strategy", "num_additional_image_tokens"
    ),
    "no_additional_tokens": _without("processor_config.json", "num_additional_image_tokens"),
    "no_pad_token": _no_pad_token,
    "sampling_flags": _sampling_flags,
    "template_in_tokenizer": _in_tokenizer,
    "template_legacy_json": _legacy,
    "template_for_text": _for_text,
}


def model(name: str, folder: Path) -> Path:
    path = copy(folder)
    MODELS[name](path)
    return path


ADAPTERS: dict[str, Callable[[], Any]] = {
    "dora_all_linear": lambda: peft.LoraConfig(r=4, target_modules="all-linear", use_dora=True),
    "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "lokr": lambda: peft.LoKrConfig(r=4, target_modules=["q_proj", "v_proj"]),
    "embeddings_only": lambda: peft.LoraConfig(r=4, target_modules=["embed_tokens"]),
    "full_embeddings": lambda: peft.LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]
    ),
    "trained_tokens": lambda: peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], trainable_token_indices=[5, 6]),
    "vision_only": lambda: peft.LoraConfig(r=4, target_modules=r".*vision_tower.*(q_proj|v_proj)"),
    "plain": lambda: peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
    "projector": lambda: peft.LoraConfig(
        r=4, target_modules=r".*language_model.*(q_proj|v_proj)", modules_to_save=["multi_modal_projector"]
    ),
}


def adapter(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype=torch.float32)
    adapted = peft.get_peft_model(base, ADAPTERS[name]())
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + torch.randn_like(parameter) * 0.05
    adapted.save_pretrained(str(folder))
    return folder


def rewritten(path: Path, change: Callable[[str], str | None]) -> Path:
    """The adapter with other names of its weights, and without those that get none."""
    weights = load_file(path / FILE)
    save_file({name: kept for old, kept in weights.items() if (name := change(old))}, path / FILE)
    return path


def cut(name: str) -> str | None:
    return name if "language_model.layers.0" in name else None


def old(name: str) -> str:
    """As transformers named it before 4.52."""
    inner = "base_model.model."
    name = name.replace(f"{inner}model.language_model.", f"{inner}language_model.model.")
    name = name.replace(f"{inner}model.vision_tower.", f"{inner}vision_tower.vision_model.")
    return name.replace(f"{inner}model.multi_modal_projector", f"{inner}multi_modal_projector")
