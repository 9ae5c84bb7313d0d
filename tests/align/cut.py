"""Trainings that are cut off in this process, and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmpref.align.recipe import Evaluator, TrainRecipe
from mmpref.align.train import train


class Cut(Exception):
    """The process ends here."""


def cutting(at: int) -> Callable[[int, int], None]:
    """What cuts off a training when so many steps are done; give it as ``on_progress``."""

    def cut(done: int, of: int) -> None:
        if done == at:
            raise Cut

    return cut


def adapters(folder: Path) -> list[bytes]:
    """What the trainings ``whole`` and ``cut`` left."""
    return [(folder / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "cut")]


def whole_and_cut(
    recipe: TrainRecipe, folder: Path, at: int = 3, evaluate: Evaluator | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train in ``whole``, and in ``cut`` with a cut; the weights are the same. Returns both manifests."""
    whole = train(recipe, folder / "whole", evaluate=evaluate)
    with pytest.raises(Cut):
        train(recipe, folder / "cut", evaluate=evaluate, on_progress=cutting(at))
    again = train(recipe, folder / "cut", evaluate=evaluate)
    one, other = adapters(folder)
    assert one == other
    return whole, again
