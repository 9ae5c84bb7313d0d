"""Gemma 3 and PaliGemma: image tokens see each other both ways, and Gemma's layers alternate a sliding window."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.vlm.tiny.parts import SIGHT, SQUARE, NoVideo, Parts, images_only, template, text, tokenizer


def gemma3() -> Parts:
    words = tokenizer(image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>")
    decoder = text(
        words,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=decoder,
        mm_tokens_per_image=16,
        image_token_index=words.image_token_id,
        boi_token_index=words.boi_token_id,
        eoi_token_index=words.eoi_token_id,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    processor = hf.Gemma3Processor(
        Gemma3ImageProcessorPil(size=SQUARE), words, image_seq_length=16, chat_template=template("<start_of_image>")
    )
    model = hf.Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)  # zeros otherwise
    return model, processor


def paligemma(decoder: type = hf.GemmaConfig, **more: Any) -> Parts:
    words = tokenizer(image_token="<image>")
    pixels = SiglipImageProcessorPil(size=SQUARE)
    pixels.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(pixels, words, chat_template=template("<image>"))  # adds places and segments
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=decoder(**text(words, head_dim=8, **more)),
        image_token_index=words.image_token_id,
        vocab_size=len(words),
        projection_dim=32,
        hidden_size=32,
        tie_word_embeddings=False,
    )
    return hf.PaliGemmaForConditionalGeneration(config), processor


def paligemma2() -> Parts:
    """Gemma 2 inside: a sliding window, capped attention and capped logits."""
    caps = {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0}
    return paligemma(hf.Gemma2Config, query_pre_attn_scalar=8, sliding_window=8, **caps)


def gemma4(both_ways: str | None = "vision", layers: int = 2, per_layer: int = 0, shared: int = 0) -> Parts:
    words = tokenizer(
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    pixels = Gemma4ImageProcessorPil(patch_size=2, max_soft_tokens=70, pooling_kernel_size=3)
    processor = images_only(hf.Gemma4Processor)(None, pixels, words, NoVideo(), chat_template=template("<|image|>"))
    decoder = text(
        words,
        num_hidden_layers=layers,
        head_dim=8,
        global_head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        use_bidirectional_attention=both_ways,
        vocab_size_per_layer_input=len(words),
        final_logit_softcapping=3.0,
        hidden_size_per_layer_input=per_layer,
        num_kv_shared_layers=shared,
    )
    sight = {key: value for key, value in SIGHT.items() if key != "image_size"}
    sight |= {"patch_size": 2, "num_key_value_heads": 4, "head_dim": 8, "position_embedding_size": 64}
    config = hf.Gemma4Config(
        text_config=decoder,
        vision_config=sight,
        image_token_id=words.image_token_id,
        video_token_id=processor.video_token_id,
        boi_token_id=words.boi_token_id,
        eoi_token_id=words.eoi_token_id,
        audio_token_id=words.audio_token_id,
        boa_token_id=words.boa_token_id,
        eoa_token_index=words.eoa_token_id,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    model = hf.Gemma4ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.vision_tower.patch_embedder.position_embedding_table, std=0.3)  # ones otherwise
    return model, processor


def gemma4_per_layer() -> Parts:
    """As E2B and E4B are: causal, an embedding of the token's id for every layer, keys shared by the last layers."""
    return gemma4(None, layers=4, per_layer=8, shared=2)


BUILDERS = {
    "gemma3": gemma3,
    "gemma4": gemma4,
    "gemma4_per_layer": gemma4_per_layer,
    "paligemma": paligemma,
    "paligemma2": paligemma2,
}
