"""Adapters of the shipped model, made by PEFT alone, and small files of benchmark rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MODEL = "pkg:mmpref.testbed/model"
MakeAdapter = Callable[..., Path]


@pytest.fixture(scope="session")
def make_adapter() -> MakeAdapter:
    """``make_adapter(folder, seed)``: a LoRA adapter that changes every answer; a smaller one leaves most readable."""

    def make(folder: Path, seed: int = 0, size: float = 2.5) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForImageTextToText

        from mmpref.registry import resolve_path

        base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype=torch.float32)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=r"model\.language_model\..*\.(?:q|v)_proj")
        torch.manual_seed(seed)
        model = get_peft_model(base, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=size)
        model.save_pretrained(str(folder))
        return folder

    return make


@pytest.fixture(scope="session")
def adapter(make_adapter: MakeAdapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter"), size=0.7)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return buffer.getvalue()


def pope_row(number: int, image: Any, category: str = "random", answer: str = "yes") -> dict[str, Any]:
    return {
        "id": str(number),
        "question": "Is there a cup in the image?",
        "answer": answer,
        "image": image,
        "image_source": str(number),
        "category": category,
    }


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
