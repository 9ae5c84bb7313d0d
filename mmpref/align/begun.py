"""The adapter that a training goes on from: that it is of this base and of this form, and which one it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.errors import UsageError
from mmpref.run.inputs import refuse_changed_input
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter, load_weights
from mmpref.vlm.load import identify
from mmpref.vlm.revisions import adapter_facts

if TYPE_CHECKING:
    from peft import PeftModel


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
    revision = before["revision"] if before else recipe.adapter_revision
    _, base = identify(ModelRef(recipe.model, pinned.get("model") or recipe.revision), recipe.trust_remote_code)
    config, commit = check_adapter(ModelRef(recipe.model, base, recipe.adapter, revision))
    refuse_other_shape(recipe.adapter, config, recipe.lora)
    facts = adapter_facts(recipe.adapter, commit)
    if before and before != facts:
        refuse_changed_input(path, f"The adapter {recipe.adapter} has changed")
    return facts


def refuse_other_shape(adapter: str, config: Mapping[str, Any], settings: LoraSettings) -> None:
    """Refuse to go on from an adapter that is not of the recipe's form; which modules it has, its weights tell.

    Args:
        config: what its ``adapter_config.json`` says.

    Raises:
        UsageError: it is no LoRA adapter, or has another rank, scale or kind.
    """
    if config.get("peft_type") != "LORA":
        raise UsageError(f"{adapter} is of the kind {config.get('peft_type')}.", "Training goes on from LoRA only.")
    theirs = {
        "lora.r": (config.get("r"), settings.r),
        "lora.alpha": (config.get("lora_alpha"), settings.alpha),
        "lora.use_rslora": (bool(config.get("use_rslora")), bool(settings.use_rslora)),
        "lora.use_dora": (bool(config.get("use_dora")), bool(settings.use_dora)),
    }
    if others := [f"{name} is {had} there and {has} here" for name, (had, has) in theirs.items() if had != has]:
        raise UsageError(
            f"Training cannot go on from {adapter}: {', '.join(others)}.", "Give the settings that it was trained with."
        )


def begin_from(model: PeftModel, adapter: str, revision: str | None = None) -> None:
    """Put an adapter's weights into a model that is going to be trained.

    Raises:
        ModelError: its file lacks weights that are trained here, or holds others.
        UsageError: it holds whole modules that are not trained here.
    """
    if load_weights(model, adapter, revision, trainable=True):
        raise UsageError(
            f"Training cannot go on from {adapter}: it holds whole modules, such as the projector, that are not "
            "trained here.",
            "Give train_projector as it was trained with.",
        )
