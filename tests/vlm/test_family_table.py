"""The table of families: image tokens that are known without weights, by the families' own processors."""

from __future__ import annotations

from typing import Any

import pytest
import transformers as hf
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mmpref.vlm.families import FAMILIES
from tests.vlm.tiny import tokenizer

SQUARES = {family.model_type: family.square for family in FAMILIES if family.square}
FIXED = {"llava", "vipllava", "gemma3", "deepseek_vl", "janus"}
"""Every image is brought to one size."""


def test_llava_next_counts_tiles_and_row_newlines() -> None:
    """As llava-hf/llava-v1.6-vicuna-7b-hf is configured: tiles of 336 pixels, patches of 14."""
    pixels = LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    processor: Any = hf.LlavaNextProcessor(
        pixels,
        tokenizer("<image>", image_token="<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    counted = processor._get_num_multimodal_tokens(image_sizes=[[672, 672]])["num_image_tokens"]
    assert counted == [SQUARES["llava_next"]] == [SQUARES["llava_next_video"]]


@pytest.mark.parametrize(
    ("families", "pixels"),
    [
        (("qwen2_vl", "qwen2_5_vl"), Qwen2VLImageProcessorPil(patch_size=14, merge_size=2)),
        (("qwen3_vl", "qwen3_vl_moe"), Qwen2VLImageProcessorPil(patch_size=16, merge_size=2)),
        (("glm4v", "glm46v"), Glm4vImageProcessorPil()),
    ],
)
def test_patches_are_merged_by_four(families: tuple[str, ...], pixels: Any) -> None:
    counted = pixels.get_number_of_image_patches(672, 672, {}) // pixels.merge_size**2
    assert {SQUARES[family] for family in families} == {counted}


def test_nothing_else_is_claimed() -> None:
    rows = {family.model_type: family.describe() for family in FAMILIES}
    assert all(rows[name]["image tokens"] == rows[name]["at 672 x 672"] for name in FIXED)
    computed = {"llava_next", "llava_next_video", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"}
    assert SQUARES.keys() == FIXED | computed | {"glm4v", "glm46v"}
    assert (rows["llava_next"]["at 672 x 672"], rows["llava_next"][".99 leaves"]) == ("2928", "29")
    assert (rows["aya_vision"]["at 672 x 672"], rows["aya_vision"][".99 leaves"]) == ("", "")
