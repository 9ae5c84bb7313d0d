"""A plan of few rows on the testbed, small enough to run in a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

WritePlan = Callable[..., Path]

PLAN: dict[str, Any] = {
    "title": "A try",
    "recipe": "testbed",
    "data": {"pairs": {"method": "bdhs", "limit": 12, "builder": {"iterations": 1, "max_tail_tokens": 8}}},
    "train": {"dpo": {"method": "dpo", "trainer": {"max_steps": 2, "per_device_train_batch_size": 4}}},
    "evaluate": {
        "dev": {"benchmarks": ["chair"], "split": "dev", "limit": 6},
        "test": {"benchmarks": ["chair"], "limit": 8},
    },
    "kl": {"prompts": 3},
    "grid": {
        "search": {"trainer.learning_rate": [1e-3, 1e-2]},
        "best": "chair chair_i",
        "keep": "chair recall",
        "within": 0.02,
    },
    "rows": {
        "base": {},
        "bdhs": {"data": "pairs", "train": "dpo"},
        "fewer": {"data": "pairs", "train": "dpo", "limit": 4, "grid": "like bdhs"},
    },
}


@pytest.fixture
def write_plan(tmp_path: Path) -> WritePlan:
    """``write_plan(**changes)``: the file of `PLAN` with other top-level keys."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
        return path

    return write
