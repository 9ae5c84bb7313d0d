"""Models that cut an image into tiles and shuffle pixels into fewer tokens: InternVL, Aya Vision."""

from __future__ import annotations

from typing import Any

import transformers as hf
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.ovis2.image_processing_pil_ovis2 import Ovis2ImageProcessorPil

from tests.vlm.tiny.parts import SIGHT, SQUARE, NoVideo, Parts, images_only, template, text, tokenizer

TILED: dict[str, Any] = {"size": SQUARE, "crop_to_patches": True, "min_patches": 1, "max_patches": 2}


def internvl() -> Parts:
    words = tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = hf.InternVLConfig(
        vision_config=SIGHT,
        text_config=hf.Qwen2Config(**text(words)),
        image_token_id=words.context_image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = images_only(hf.InternVLProcessor)(
        GotOcr2ImageProcessorPil(**TILED), words, NoVideo(), image_seq_length=4, chat_template=template("<IMG_CONTEXT>")
    )
    return hf.InternVLForConditionalGeneration(config), processor


def _cohere2(words: Any) -> hf.Cohere2Config:
    layers = ["sliding_attention", "full_attention"]
    return hf.Cohere2Config(**text(words, sliding_window=12, layer_types=layers, logit_scale=0.25))


def aya_vision() -> Parts:
    tiles = ["TILE", "TILE_GLOBAL", *(f"TILE_{number}" for number in range(1, 3))]
    marks = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>"]
    words = tokenizer("<image>", *marks, *tiles, image_patch_token="<|IMG_PATCH|>")
    config = hf.AyaVisionConfig(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=_cohere2(words),
        image_token_index=words.image_patch_token_id,
        tie_word_embeddings=False,
    )
    processor = hf.AyaVisionProcessor(
        GotOcr2ImageProcessorPil(**TILED),
        words,
        patch_size=4,
        img_size=16,
        downsample_factor=2,
        chat_template=template("<image>"),
    )
    return hf.AyaVisionForConditionalGeneration(config), processor


class _CoherePixels(GotOcr2ImageProcessorPil):
    """Command A Vision's own image processor exists for torchvision only; this one cuts the same tiles."""

    patch_size = 2  # tokens along a tile's side


def cohere2_vision() -> Parts:
    words = tokenizer(
        boi_token="<|START_OF_IMG|>",
        eoi_token="<|END_OF_IMG|>",
        image_token="<|IMG_PATCH|>",
        img_line_break_token="<|IMG_LINE_BREAK|>",
    )
    config = hf.Cohere2VisionConfig(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=_cohere2(words),
        image_token_id=words.image_token_id,
        alignment_intermediate_size=64,
        tie_word_embeddings=False,
    )
    processor = hf.Cohere2VisionProcessor(_CoherePixels(**TILED), words, chat_template=template("<|IMG_PATCH|>"))
    return hf.Cohere2VisionForConditionalGeneration(config), processor


def ovis2() -> Parts:
    marks = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    words = tokenizer(*marks, "<IMG_ATOM>", image_token="<image>")
    config = hf.Ovis2Config(
        vision_config={**SIGHT, "vocab_size": 21, "hidden_stride": 2},
        text_config=hf.Qwen2Config(**text(words)),
        image_token_id=words.convert_tokens_to_ids("<IMG_ATOM>"),
        hidden_size=32,
        vocab_size=len(words),
        visual_indicator_token_ids=words.convert_tokens_to_ids(marks),
        tie_word_embeddings=False,
    )
    pixels = Ovis2ImageProcessorPil(**TILED)
    processor = hf.Ovis2Processor(pixels, words, image_seq_length=4, chat_template=template("<image>"))
    return hf.Ovis2ForConditionalGeneration(config), processor


BUILDERS = {"internvl": internvl, "aya_vision": aya_vision, "cohere2_vision": cohere2_vision, "ovis2": ovis2}
