"""The family table: what differs between vision-language architectures, a row each. No other file asks for a type."""

from __future__ import annotations

from dataclasses import dataclass

from mmpref.errors import ModelError


@dataclass(frozen=True)
class Family:
    """One architecture that BDHS, training and evaluation support.

    Args:
        model_type: transformers' ``config.model_type``.
        title: the name people use.
        image_tokens: tokens an image takes, for `mmpref list families`.
        positions: position scheme of the decoder.
        projector: module name of the vision-language projector.
        vicuna_prompt: replace the shipped chat template by the true Vicuna format where the shipped one lacks BOS,
            system text and EOS (see `mmpref.vlm.prompts`).
    """

    model_type: str
    title: str
    image_tokens: str
    positions: str
    projector: str = "multi_modal_projector"
    vicuna_prompt: bool = False

    def describe(self) -> dict[str, str]:
        return {
            "name": self.model_type,
            "models": self.title,
            "image tokens": self.image_tokens,
            "positions": self.positions,
            "projector": self.projector,
        }


FAMILIES = (
    Family("llava", "LLaVA-1.5", "576", "1-D", vicuna_prompt=True),
    Family("llava_next", "LLaVA-NeXT (1.6)", "up to 2928, row newlines included", "1-D", vicuna_prompt=True),
    Family("idefics3", "Idefics3, SmolVLM", "81 or 64 a tile", "1-D", "connector"),
)

_REFUSED = {
    "mllama": "its images enter through cross-attention, which dropping image tokens does not reach",
    "idefics": "its images enter through cross-attention, which dropping image tokens does not reach",
    "qwen3_5": "its linear-attention layers see past any mask on image tokens",
    "lfm2_vl": "its convolutional layers see past any mask on image tokens",
}


def find_family(model_type: str, where: str) -> Family:
    """The row of a model type.

    Raises:
        ModelError: the architecture is known not to work, or is not in the table.
    """
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    reason = _REFUSED.get(model_type, "nobody has shown that dropping its image tokens equals masking them")
    known = ", ".join(family.model_type for family in FAMILIES)
    raise ModelError(f"{where} is a {model_type!r} model, which mmpref does not support: {reason}.",
                     f"Supported model types: {known}.")  # fmt: skip
