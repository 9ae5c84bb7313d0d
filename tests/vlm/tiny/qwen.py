"""Qwen-VL and GLM-V: M-RoPE over time, height and width."""

from __future__ import annotations

from typing import Any

import transformers as hf
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import VideoLlama3ImageProcessorPil

from tests.vlm.tiny.parts import NoVideo, Parts, images_only, template, text, tokenizer

NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
TOWER: dict[str, Any] = {"depth": 2, "num_heads": 4, "patch_size": 4, "initializer_range": 0.3}
# Heads of 8 dimensions have 4 frequencies: two follow time, one height, one width.
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
PATCHES: dict[str, Any] = {"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 64, "longest_edge": 48 * 48}}


def qwen_words() -> tuple[Any, dict[str, Any]]:
    words = tokenizer(**NAMED)
    return words, {f"{name}_id": words.convert_tokens_to_ids(token) for name, token in NAMED.items()}


def qwen_processor(kind: type, words: Any) -> Any:
    prompt = template("<|vision_start|><|image_pad|><|vision_end|>")
    return images_only(kind)(Qwen2VLImageProcessorPil(**PATCHES), words, NoVideo(), chat_template=prompt)


def qwen2_vl() -> Parts:
    words, ids = qwen_words()
    config = hf.Qwen2VLConfig(
        vision_config={**TOWER, "embed_dim": 32, "hidden_size": 32},
        text_config=text(words, rope_parameters=ROPE),
        **ids,
    )
    return hf.Qwen2VLForConditionalGeneration(config), qwen_processor(hf.Qwen2VLProcessor, words)


def qwen2_5_vl() -> Parts:
    words, ids = qwen_words()
    sight = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "window_size": 16}
    config = hf.Qwen2_5_VLConfig(
        vision_config={**TOWER, **sight, "fullatt_block_indexes": [1]},
        text_config=text(words, rope_parameters=ROPE),
        **ids,
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), qwen_processor(hf.Qwen2_5_VLProcessor, words)


def qwen3_vl() -> Parts:
    words, ids = qwen_words()
    sight = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "num_position_embeddings": 16}
    rope = {**ROPE, "mrope_interleaved": True}
    config = hf.Qwen3VLConfig(
        vision_config={**TOWER, **sight, "deepstack_visual_indexes": [0]},
        text_config=text(words, head_dim=8, rope_parameters=rope),
        **ids,
    )
    return hf.Qwen3VLForConditionalGeneration(config), qwen_processor(hf.Qwen3VLProcessor, words)


def qwen3_vl_moe() -> Parts:
    words, ids = qwen_words()
    sight = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "num_position_embeddings": 16}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    rope = {**ROPE, "mrope_interleaved": True}
    config = hf.Qwen3VLMoeConfig(
        vision_config={**TOWER, **sight, "deepstack_visual_indexes": [0]},
        text_config=text(words, head_dim=8, rope_parameters=rope, **experts),
        **ids,
    )
    return hf.Qwen3VLMoeForConditionalGeneration(config), qwen_processor(hf.Qwen3VLProcessor, words)


def paddleocr_vl() -> Parts:
    words, ids = qwen_words()
    sight = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = hf.PaddleOCRVLConfig(
        vision_config={**sight, "image_size": 16, "patch_size": 4},
        text_config=text(words, head_dim=8, rope_parameters=ROPE),
        tie_word_embeddings=False,
        **ids,
    )
    pixels = PaddleOCRVLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=48 * 48)
    processor = hf.PaddleOCRVLProcessor(
        pixels, words, chat_template=template("<|vision_start|><|image_pad|><|vision_end|>")
    )
    return hf.PaddleOCRVLForConditionalGeneration(config), processor


def video_llama_3() -> Parts:
    words, _ = qwen_words()
    sight = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = hf.VideoLlama3Config(
        vision_config={**sight, "patch_size": 4, "initializer_range": 0.3},
        text_config=hf.Qwen2Config(**text(words)),
        image_token_id=words.image_token_id,
        video_token_id=words.video_token_id,
    )
    pixels = VideoLlama3ImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=48 * 48)
    processor = images_only(hf.VideoLlama3Processor)(pixels, words, NoVideo(), chat_template=template("<|image_pad|>"))
    return hf.VideoLlama3ForConditionalGeneration(config), processor


def glm4v(config_class: type = hf.Glm4vConfig, model: type = hf.Glm4vForConditionalGeneration) -> Parts:
    named = {"image_token": "<|image|>", "video_token": "<|video|>"}
    marks = ["image_start", "image_end", "video_start", "video_end"]
    tokens = ["<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    words = tokenizer(*tokens, **named)
    ids = dict(zip([f"{mark}_token_id" for mark in marks], words.convert_tokens_to_ids(tokens), strict=True))
    sight = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "image_size": 16}
    config = config_class(
        vision_config={**TOWER, **sight},
        text_config=text(words, rope_parameters=ROPE),
        image_token_id=words.image_token_id,
        video_token_id=words.video_token_id,
        **ids,
    )
    prompt = template("<|begin_of_image|><|image|><|end_of_image|>")
    pixels = Glm4vImageProcessorPil(**PATCHES)
    return model(config), images_only(hf.Glm4vProcessor)(pixels, words, NoVideo(), chat_template=prompt)


def glm46v() -> Parts:
    return glm4v(hf.Glm46VConfig, hf.Glm46VForConditionalGeneration)


BUILDERS = {
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl_moe,
    "glm4v": glm4v,
    "glm46v": glm46v,
    "paddleocr_vl": paddleocr_vl,
    "video_llama_3": video_llama_3,
}
