"""What the tests of judged benchmarks share: an evaluation with a judge, and a value of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from tests.bench.conftest import MODEL


def judged(benchmark: str, settings: dict[str, Any], judge: str, output: Path, **changes: Any) -> dict[str, Any]:
    recipe = EvaluateRecipe(MODEL, (benchmark,), benchmark={benchmark: settings}, judge=judge, **changes)
    return evaluate(recipe, output)


def value_of(found: dict[str, Any], name: str, part: str = "all", model: str = "base") -> dict[str, Any]:
    return next(
        row
        for row in found["results"]
        if row["metric"].startswith(f"{name}@") and (row["split"], row["model"]) == (part, model)
    )
