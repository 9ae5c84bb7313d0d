"""A small recipe of rounds on the testbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
METRIC = "chair/chair_i_typical"
SECTIONS: dict[str, Any] = {
    "build-dataset": {
        "model": MODEL,
        "source": "testbed",
        "limit": 12,
        "block_size": 12,
        "builder": {
            "rho_th": 0.9,
            "similarity_model": EMBEDDER,
            "iterations": 2,
            "max_tail_tokens": 16,
            "max_answer_tokens": 32,
        },
    },
    "train": {
        "model": MODEL,
        "lora": {"r": 4, "alpha": 8},
        "projector_learning_rate": 1e-3,
        "trainer": {
            "learning_rate": 3e-3,
            "max_steps": 4,
            "per_device_train_batch_size": 6,
            "gradient_accumulation_steps": 1,
            "save_steps": 1,
            "warmup_steps": 0,
        },
    },
    "evaluate": {
        "model": MODEL,
        "benchmarks": ["chair"],
        "limit": 12,
        "benchmark": {
            "chair": {
                "data": "testbed-chair",
                "split": "test",
                "max_new_tokens": 48,
                "synonyms": "pkg:mmpref.testbed/synonyms.txt",
            }
        },
    },
    "iterate": {"metric": METRIC, "rounds": 2, "patience": 2, "kl_prompts": 4},
}


def written(folder: Path, **changes: Any) -> Path:
    """The recipe's file; a section that is None is left out."""
    sections = {**SECTIONS, **changes}
    file = folder / "my.yaml"
    file.write_text(yaml.safe_dump({name: section for name, section in sections.items() if section is not None}))
    return file
