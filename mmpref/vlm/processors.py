"""What a processor has to know of its model, and files of older versions do not say: taken from the model's config.

Before transformers 4.46 models counted their image tokens themselves; since then processors write one for each
feature, and need the patch size, the tokens beside the patches (CLIP's CLS), and which features are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmpref.log import logger

_ADDITIONAL = "num_additional_image_tokens"
"""Tokens beside the patches: CLIP has one (CLS), SigLIP none."""


def values_from_config(config: Any) -> dict[str, Any]:
    """Values of a processor's attributes that a model's configuration decides, as far as it says."""
    vision = getattr(config, "vision_config", None)
    patch, size = getattr(vision, "patch_size", None), getattr(vision, "image_size", None)
    values = {
        "patch_size": patch,
        "vision_feature_select_strategy": getattr(config, "vision_feature_select_strategy", None),
        "spatial_merge_size": getattr(config, "spatial_merge_size", None),
        "num_image_tokens": (size // patch) ** 2 if isinstance(patch, int) and isinstance(size, int) else None,
        "image_seq_length": getattr(config, "image_seq_length", None),
    }
    return {name: value for name, value in values.items() if value is not None}


def fill_missing(processor: Any, config: Any) -> dict[str, Any]:
    """Give the processor what it does not know (None) and the configuration does; what that was."""
    filled = {
        name: value for name, value in values_from_config(config).items() if getattr(processor, name, value) is None
    }
    set_attributes(processor, filled)
    return filled


def candidate_repairs(processor: Any, config: Any) -> Iterator[dict[str, Any]]:
    """What could be mended in a processor that announces another number of image tokens than the model makes: what the
    configuration says otherwise, the tokens beside the patches, or both."""
    differing = {
        name: value for name, value in values_from_config(config).items() if getattr(processor, name, value) != value
    }
    counts = [{_ADDITIONAL: count} for count in (1, 0)] if hasattr(processor, _ADDITIONAL) else []
    yield from filter(None, (differing, *counts))
    yield from ({**differing, **count} for count in counts if differing)


def set_attributes(processor: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(processor, name, value)


def warn_repaired(mended: Mapping[str, Any], where: str) -> None:
    """Say what was mended."""
    if mended:
        logger.warning(
            "Warning: the processor of %s does not fit its model; mended from the model: %s.",
            where,
            ", ".join(f"{name} {value}" for name, value in mended.items()),
        )
