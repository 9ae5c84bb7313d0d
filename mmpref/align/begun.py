"""The adapter that a training goes on from: that it is of this base and of this form, and which one it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.align.adapter import refuse_other_shape
from mmpref.align.recipe import TrainRecipe
from mmpref.errors import RunError
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter
from mmpref.vlm.load import identify
from mmpref.vlm.revisions import adapter_facts


def began_facts(path: Path, recipe: TrainRecipe, pinned: Mapping[str, Any]) -> Mapping[str, Any]:
    """Id, commit and hash of the weights of the adapter that training goes on from.

    Args:
        path: the run directory.
        pinned: what the run began with; empty where it begins now.

    Raises:
        ModelError: no such model or adapter, or one that was trained on another revision of the base.
        UsageError: one of another shape.
        RunError: it has changed since the run began.
    """
    assert recipe.adapter is not None
    before = pinned.get("adapter")
    _, base = identify(ModelRef(recipe.model, pinned.get("model") or recipe.revision), recipe.trust_remote_code)
    config, commit = check_adapter(ModelRef(recipe.model, base, recipe.adapter, (before or {}).get("revision")))
    refuse_other_shape(recipe.adapter, config, recipe.lora)
    facts = adapter_facts(recipe.adapter, commit)
    if before and before != facts:
        raise RunError(f"The adapter {recipe.adapter} has changed since {path} was begun.", "Choose another --output.")
    return facts
