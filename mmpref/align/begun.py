"""The adapter that a training goes on from: that it is of this base and of this form, and which one it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.errors import UsageError
from mmpref.origins.revisions import CONFIG, adapter_facts
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter, load_weights
from mmpref.vlm.load import identify
from mmpref.vlm.made_with import refuse_other_adapter

if TYPE_CHECKING:
    from peft import PeftModel

_TOLD_OTHERWISE = {
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "runtime_config", "megatron_config", "megatron_core", "qalora_group_size"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("lora_dropout", "init_lora_weights", "eva_config", "corda_config", "loftq_config", "lora_ga_config"),
}
"""What of a LoRA configuration is not compared: what it names, which modules there are (names of weights say so), and
what only a beginning or a step needs. All else decides what the weights do."""


def began_facts(path: Path, recipe: TrainRecipe, pinned: Mapping[str, Any]) -> Mapping[str, Any]:
    """What identifies the adapter that training goes on from, as `mmpref.origins.revisions.adapter_facts` has it.

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
    refuse_other_adapter(path, before or {}, facts)
    return facts


def refuse_other_shape(adapter: str, config: Mapping[str, Any], settings: LoraSettings) -> None:
    """Refuse to go on from an adapter that is not of the recipe's form; which modules it has, its weights tell.

    Args:
        config: what its ``adapter_config.json`` says.

    Raises:
        UsageError: it is no LoRA adapter, or has another rank, scale or kind, or its configuration more than ours have.
    """
    if config.get("peft_type") != "LORA":
        raise UsageError(f"{adapter} is of the kind {config.get('peft_type')}.", "Training goes on from LoRA only.")
    ours = {
        "r": ("lora.r", settings.r),
        "lora_alpha": ("lora.alpha", settings.alpha),
        "use_rslora": ("lora.use_rslora", bool(settings.use_rslora)),
        "use_dora": ("lora.use_dora", bool(settings.use_dora)),
    }
    others = [
        f"{called} is {had} there and {has} here"
        for name, (called, has) in ours.items()
        if (had := config.get(name) or has.__class__()) != has
    ]
    if others:
        raise UsageError(
            f"Training cannot go on from {adapter}: {', '.join(others)}.", "Give the settings that it was trained with."
        )
    more = {name: value for name, value in config.items() if name not in {*ours, *_TOLD_OTHERWISE}}
    if unknown := [f"{name} is {value}" for name, value in more.items() if value and value != "none"]:
        raise UsageError(
            f"Training cannot go on from {adapter}: in its {CONFIG} {', '.join(unknown)}, which adapters that are "
            "trained here do not have.",
            "Merge it into its base (PEFT's merge_and_unload), and train the model that comes of it.",
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
