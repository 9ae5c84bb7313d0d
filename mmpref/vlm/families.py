"""The family table: what differs between vision-language architectures, a row each. No other file asks for a type."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mmpref.errors import ModelError


@dataclass(frozen=True)
class Family:
    """One architecture that BDHS, training and evaluation support.

    Args:
        model_type: transformers' ``config.model_type``.
        title: the name people use.
        image_tokens: tokens an image takes, for `mmpref list families`.
        square: how many that is for a picture of 672 x 672 pixels, where it is known without weights; what rho_th .99
            leaves of them is how differently the same rho_th acts.
        positions: position scheme of the decoder.
        projector: module name of the vision-language projector.
        deepstack: name of the list of modules that make features for early decoder layers out of the tower's.
        shares_prefix: a prefill of prompt and answer serves every continuation of it
            (`mmpref.vlm.shared_prefix_pool`); otherwise each is prefilled anew (`mmpref.vlm.transformers_pool`).
        vicuna_prompt: replace the shipped chat template by the true Vicuna format where the shipped one lacks BOS,
            system text and EOS (see `mmpref.vlm.chat_template`).
        tested: tests compare logits, masks and whole greedy answers of a tiny random model with transformers' own.
    """

    model_type: str
    title: str
    image_tokens: str
    positions: str
    projector: str = "multi_modal_projector"
    deepstack: str = ""
    shares_prefix: bool = True
    vicuna_prompt: bool = False
    tested: bool = True
    square: int | None = None

    def describe(self) -> dict[str, str]:
        """Its row of `mmpref list families`."""
        return {
            "name": self.model_type,
            "models": self.title,
            "image tokens": self.image_tokens,
            "at 672 x 672": f"{self.square or ''}",
            ".99 leaves": f"{self.square / 100:.0f}" if self.square else "",
            "positions": self.positions,
            "prefix": "shared" if self.shares_prefix else "not shared",
            "projector": self.projector,
            "tested": "yes" if self.tested else "probed when loaded",
        }


_TILE_ROWS = "up to 2928, row newlines included"
_PATCHES_28, _PATCHES_32 = "1 a square of 28 pixels", "1 a square of 32 pixels"
_DEEPSTACK = "deepstack_merger_list"
_BOTH_WAYS = "images see themselves both ways"

FAMILIES = (
    Family("llava", "LLaVA-1.5, Pixtral", "576", "1-D", vicuna_prompt=True, square=576),
    Family("llava_next", "LLaVA-NeXT (1.6)", _TILE_ROWS, "1-D", vicuna_prompt=True, square=2928),
    Family("llava_next_video", "LLaVA-NeXT-Video", _TILE_ROWS, "1-D", vicuna_prompt=True, square=2928),
    Family("llava_onevision", "LLaVA-OneVision", "729 a tile, pooled beyond 9 tiles", "1-D"),
    Family("vipllava", "ViP-LLaVA", "576", "1-D", square=576),
    Family("qwen2_vl", "Qwen2-VL", _PATCHES_28, "M-RoPE", "merger", square=576),
    Family("qwen2_5_vl", "Qwen2.5-VL", _PATCHES_28, "M-RoPE", "merger", square=576),
    Family("qwen3_vl", "Qwen3-VL", _PATCHES_32, "M-RoPE, DeepStack", "merger", _DEEPSTACK, square=441),
    Family(
        "qwen3_vl_moe",
        "Qwen3-VL, mixture of experts",
        _PATCHES_32,
        "M-RoPE, DeepStack",
        "merger",
        _DEEPSTACK,
        square=441,
    ),
    Family("glm4v", "GLM-4.1V", _PATCHES_28, "M-RoPE", "merger", square=576),
    Family("glm46v", "GLM-4.6V-Flash", _PATCHES_28, "M-RoPE", "merger", square=576),
    Family("paddleocr_vl", "PaddleOCR-VL", _PATCHES_28, "M-RoPE", "projector"),
    Family("video_llama_3", "VideoLLaMA 3", "1 a square of 14 pixels", "1-D", "projector"),
    Family("idefics2", "Idefics2", "64, or 320 with splitting", "1-D", "connector"),
    Family("idefics3", "Idefics3, SmolVLM", "169, 81 or 64 a tile", "1-D", "connector"),
    Family("smolvlm", "SmolVLM2", "81 or 64 a tile", "1-D", "connector"),
    Family("internvl", "InternVL 2.5 to 3.5", "256 a tile", "1-D"),
    Family("gemma3", "Gemma 3", "256", f"1-D, sliding windows; {_BOTH_WAYS}", square=256),
    Family(
        "gemma4",
        "Gemma 4 (E2B and E4B refused)",
        "280, or 70 to 1120",
        f"1-D, sliding windows; {_BOTH_WAYS}",
        "embed_vision",
    ),
    Family("paligemma", "PaliGemma 1 and 2", "256, 1024 or 4096", "1-D; prompts see themselves both ways"),
    Family("mistral3", "Mistral Small 3, Ministral 3", _PATCHES_28, "1-D"),
    Family("lighton_ocr", "LightOnOCR", _PATCHES_28, "1-D", "vision_projection"),
    Family("aya_vision", "Aya Vision", "169 a tile", "1-D, sliding windows"),
    Family("cohere2_vision", "Command A Vision", "256 a tile", "1-D, sliding windows"),
    Family("ovis2", "Ovis2", "256 a tile", "1-D", "visual_embeddings_table"),
    Family("deepseek_vl", "DeepSeek-VL", "576", "1-D", "aligner", square=576),
    Family("janus", "Janus", "576", "1-D", "aligner", square=576),
)

DECODERS = frozenset(
    {
        "cohere2",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gemma4_text",
        "glm4v_text",
        "granite",
        "llama",
        "mistral",
        "paddleocr_vl_text",
        "qwen2",
        "qwen2_5_vl_text",
        "qwen2_vl_text",
        "qwen3",
        "qwen3_vl_moe_text",
        "qwen3_vl_text",
    }
)
"""Text model types (``config.get_text_config().model_type``) that tests run inside these families. Another one in the
place of the language model is probed like a family that nobody has tried."""

_CROSS = "its images enter through cross-attention, which dropping image tokens does not reach"
_REFUSED = {
    "mllama": _CROSS,
    "idefics": _CROSS,
    "qwen3_5": "its linear-attention layers see past any mask on image tokens",
    "qwen3_5_moe": "its linear-attention layers see past any mask on image tokens",
    "granite4_vision": "its image features enter every other decoder layer, which mmpref cannot drop row by row yet",
    "lfm2_vl": "its convolutional layers see past any mask on image tokens",
}


def find_family(model_type: str, where: str) -> Family:
    """The row of a model type; for one that nobody has tried, a row that says so: a probe decides
    (`mmpref.vlm.verify`).

    Raises:
        ModelError: the architecture is known not to work.
    """
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    if reason := _REFUSED.get(model_type):
        raise ModelError(
            f"{where} is a {model_type!r} model, which mmpref does not support: {reason}.",
            "Supported model types: mmpref list families.",
        )
    return Family(model_type, model_type, "not known", "not known", "", tested=False)


def refusal(kinds: Collection[str]) -> str | None:
    """Why decoder layers of these kinds cannot be kept from seeing a token, or None where they can."""
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            return f"its {kind.replace('_', '-')} layers do not go by a mask on image tokens"
    return None
