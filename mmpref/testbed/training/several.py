"""Bases that are asked about one of two pictures: the testbed's model, taught further by mmpref's own training."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmpref.api.build import build_dataset
from mmpref.api.train import train
from mmpref.registry import resolve_path
from mmpref.testbed.tables import testbed_several
from mmpref.testbed.training import measure
from mmpref.testbed.training.base import train_base

MODEL = "pkg:mmpref.testbed/model"
LEARNING_RATE = 1e-3


def teach_several(
    *, seed: int, output: Path, epochs: float, rows: int | None = None, measured: int | None = None, **options: Any
) -> None:
    """Train the base of a seed (0: the one that ships) further on ``testbed-several``, into ``output``.

    Supervised, all weights but the vision tower's: the captions are the chosen answers of pairs whose rejected ones
    count for nothing.

    Args:
        epochs: over the rows.
        rows: how many; None for all.
        measured: on how many scenes of ``test`` its captions are measured; None for all.
        options: of the model before it (`mmpref.testbed.training.base.train_base`).
    """
    with tempfile.TemporaryDirectory() as folder:
        first, pairs, taught = (Path(folder) / name for name in ("base", "pairs", "taught"))
        if seed or options:
            train_base(seed=seed, output=first, **options)
        else:
            first = Path(resolve_path(MODEL))
        count = rows or testbed_several.SIZES["train"]
        build_dataset(method="mismatched", source="testbed-several", recipe="testbed", limit=count, output=pairs)
        train(
            method="sft",
            model=first,
            dataset=pairs,
            recipe="testbed",
            epochs=epochs,
            learning_rate=LEARNING_RATE,
            batch_size=8,
            seed=seed,
            tuning="full",
            trainer={"gradient_accumulation_steps": 4},
            output=taught,
        )
        output.mkdir(parents=True, exist_ok=True)
        for file in sorted(taught.iterdir()):
            if file.suffix in (".safetensors", ".json", ".jinja") and file.name != "run.json":
                (output / file.name).write_bytes(file.read_bytes())
    model = AutoModelForImageTextToText.from_pretrained(output, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(output)
    figures = {
        "seed": seed,
        "epochs": epochs,
        "rows": count,
        "learning_rate": LEARNING_RATE,
        "test": {"captions": measure.captions(model, processor, "test", measured)},
        "test_of_two": {"captions": measure.captions_of_two(model, processor, "test", measured)},
    }
    (output / "TRAINING.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
