"""Models that see through Pixtral's tower: images keep their shape, rows end in a break token."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

import transformers as hf
from transformers.models.pixtral import image_processing_pil_pixtral
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from tests.vlm.tiny.parts import SIGHT, Parts, template, text, tokenizer

TOWER = {**SIGHT, "image_size": 48, "head_dim": 8}
TOKENS = ("[IMG_BREAK]", "[IMG_END]")


@cache
def _processor_class() -> Any:
    """Its module imports one helper from a module that needs torchvision; the PIL twin has the helper too."""
    package = "transformers.models.pixtral"
    twin = f"{package}.image_processing_pixtral"
    if hf.utils.is_torchvision_available():
        return hf.PixtralProcessor
    sys.modules[twin] = image_processing_pil_pixtral
    try:
        return import_module(f"{package}.processing_pixtral").PixtralProcessor
    finally:
        del sys.modules[twin]


def _processor(words: Any, merge: int) -> Any:
    pixels = PixtralImageProcessorPil(size={"longest_edge": 48}, patch_size={"height": 4, "width": 4})
    prompt = template("[IMG]")
    return _processor_class()(pixels, words, patch_size=4, spatial_merge_size=merge, chat_template=prompt)


def llava_pixtral() -> Parts:
    words = tokenizer(*TOKENS, image_token="[IMG]")
    config = hf.LlavaConfig(
        vision_config=hf.PixtralVisionConfig(**TOWER),
        text_config=hf.MistralConfig(**text(words, sliding_window=None)),
        image_token_index=words.image_token_id,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return hf.LlavaForConditionalGeneration(config), _processor(words, 1)


def _mistral3(window: int | None = None) -> Parts:
    words = tokenizer(*TOKENS, image_token="[IMG]")
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(**TOWER),
        text_config=hf.MistralConfig(**text(words, sliding_window=window)),
        image_token_index=words.image_token_id,
        tie_word_embeddings=False,
    )
    return hf.Mistral3ForConditionalGeneration(config), _processor(words, 2)


def mistral3_sliding() -> Parts:
    return _mistral3(12)


def lighton_ocr() -> Parts:
    words = tokenizer(image_token="<|image_pad|>", image_break_token="<|vision_pad|>", image_end_token="<|vision_end|>")
    config = hf.LightOnOcrConfig(
        vision_config=hf.PixtralVisionConfig(**TOWER),
        text_config=hf.Qwen3Config(**text(words, head_dim=8)),
        image_token_id=words.image_token_id,
        tie_word_embeddings=False,
    )
    processor = hf.LightOnOcrProcessor(
        PixtralImageProcessorPil(size={"longest_edge": 48}, patch_size={"height": 8, "width": 8}),
        words,
        patch_size=4,
        spatial_merge_size=2,
        chat_template=template("<|image_pad|>"),
    )
    return hf.LightOnOcrForConditionalGeneration(config), processor


BUILDERS = {
    "llava_pixtral": llava_pixtral,
    "mistral3": _mistral3,
    "mistral3_sliding": mistral3_sliding,
    "lighton_ocr": lighton_ocr,
}
