"""The LLaVA line: a vision tower, an MLP and an ordinary text decoder, whichever that is."""

from __future__ import annotations

from typing import Any

import transformers as hf
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from tests.vlm.tiny.parts import SIGHT, SQUARE, NoVideo, Parts, images_only, template, text, tokenizer

PINPOINTS = [[16, 32], [32, 16], [32, 32]]
WINDOW = 12


def _square_processor(words: Any) -> hf.LlavaProcessor:
    return hf.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=SQUARE),
        words,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )


def _anyres_pixels() -> LlavaNextImageProcessorPil:
    return LlavaNextImageProcessorPil(size={"shortest_edge": 16}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS)


def _llava(decoder: type = hf.LlamaConfig, **more: Any) -> Parts:
    words = tokenizer(image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT),
        text_config=decoder(**text(words, **more)),
        image_token_index=words.image_token_id,
        image_seq_length=16,
        vision_feature_layer=-1,
    )
    return hf.LlavaForConditionalGeneration(config), _square_processor(words)


def llava_mistral_sliding() -> Parts:
    return _llava(hf.MistralConfig, sliding_window=WINDOW)


def llava_qwen2_sliding() -> Parts:
    return _llava(hf.Qwen2Config, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)


def llava_gemma2() -> Parts:
    caps = {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0}
    return _llava(hf.Gemma2Config, head_dim=8, query_pre_attn_scalar=8, sliding_window=WINDOW, **caps)


def llava_granite() -> Parts:
    return _llava(hf.GraniteConfig, logits_scaling=8.0, embedding_multiplier=2.0, residual_multiplier=0.5)


def vipllava() -> Parts:
    words = tokenizer(image_token="<image>")
    config = hf.VipLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT),
        text_config=hf.LlamaConfig(**text(words)),
        image_token_index=words.image_token_id,
        image_seq_length=16,
        vision_feature_layer=[-1, -2],
    )
    return hf.VipLlavaForConditionalGeneration(config), _square_processor(words)


def llava_next(**more: Any) -> Parts:
    words = tokenizer(image_token="<image>")
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT),
        text_config=hf.LlamaConfig(**text(words, **more)),
        image_token_index=words.image_token_id,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
    )
    processor = hf.LlavaNextProcessor(
        _anyres_pixels(),
        words,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return hf.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> Parts:
    words = tokenizer(image_token="<image>", video_token="<video>")
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=hf.Qwen2Config(**text(words)),
        image_token_index=words.image_token_id,
        video_token_index=words.video_token_id,
        image_grid_pinpoints=PINPOINTS,
    )
    pixels = LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=PINPOINTS)
    processor = images_only(hf.LlavaOnevisionProcessor)(
        pixels,
        words,
        NoVideo(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template("<image>"),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def llava_next_video() -> Parts:
    words = tokenizer(image_token="<image>", video_token="<video>")
    config = hf.LlavaNextVideoConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT),
        text_config=hf.LlamaConfig(**text(words)),
        image_token_index=words.image_token_id,
        video_token_index=words.video_token_id,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
    )
    processor = images_only(hf.LlavaNextVideoProcessor)(
        NoVideo(),
        _anyres_pixels(),
        words,
        template("<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return hf.LlavaNextVideoForConditionalGeneration(config), processor


def granite4_vision() -> Parts:
    words = tokenizer(image_token="<image>")
    queries = {"num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 8, "initializer_range": 0.3}
    config = hf.Granite4VisionConfig(
        vision_config=hf.CLIPVisionConfig(**{**SIGHT, "hidden_size": 64}),  # heads of its projector have 64 dimensions
        text_config=text(words, logits_scaling=4.0, residual_multiplier=0.5, embedding_multiplier=2.0),
        qformer_config={**queries, "model_type": "blip_2_qformer", "cross_attention_frequency": 1},
        downsample_rate="1/2",
        deepstack_layer_map=[[-1, 0]],
        spatial_target_layers=[1],
        image_token_index=words.image_token_id,
        image_grid_pinpoints=PINPOINTS,
    )
    processor = hf.Granite4VisionProcessor(
        _anyres_pixels(),
        words,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        downsample_rate="1/2",
        chat_template=template("<image>"),
    )
    return hf.Granite4VisionForConditionalGeneration(config), processor


BUILDERS = {
    "llava": _llava,
    "llava_mistral_sliding": llava_mistral_sliding,
    "llava_qwen2_sliding": llava_qwen2_sliding,
    "llava_gemma2": llava_gemma2,
    "llava_granite": llava_granite,
    "vipllava": vipllava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "llava_next_video": llava_next_video,
}
