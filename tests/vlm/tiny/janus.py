"""DeepSeek-VL and Janus: a fixed number of tokens for a padded square."""

from __future__ import annotations

import transformers as hf
from transformers.models.deepseek_vl.image_processing_pil_deepseek_vl import DeepseekVLImageProcessorPil
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from tests.vlm.tiny.parts import SIGHT, SQUARE, Parts, template, text, tokenizer


def deepseek_vl() -> Parts:
    words = tokenizer(image_token="<image_placeholder>")
    config = hf.DeepseekVLConfig(
        vision_config=hf.SiglipVisionConfig(**SIGHT, vision_use_head=False),
        text_config=hf.LlamaConfig(**text(words)),
        image_token_id=words.image_token_id,
        tie_word_embeddings=False,
    )
    processor = hf.DeepseekVLProcessor(
        DeepseekVLImageProcessorPil(size=SQUARE),
        words,
        num_image_tokens=16,
        chat_template=template("<image_placeholder>"),
    )
    return hf.DeepseekVLForConditionalGeneration(config), processor


def janus() -> Parts:
    words = tokenizer(image_token="<image_placeholder>", boi_token="<begin_of_image>", eoi_token="<end_of_image>")
    sight = {key: value for key, value in SIGHT.items() if key != "intermediate_size"}
    drawing = {"base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1, "latent_channels": 32}
    config = hf.JanusConfig(
        vision_config={**sight, "projection_dim": 32, "num_image_tokens": 16, "mlp_ratio": 2.0},
        vq_config={**drawing, "num_embeddings": 16, "projection_dim": 32, "image_token_embed_dim": 32},
        text_config=hf.LlamaConfig(**text(words)),
        image_token_id=words.image_token_id,
        tie_word_embeddings=False,
    )
    processor = hf.JanusProcessor(
        JanusImageProcessorPil(size=SQUARE), words, num_image_tokens=16, chat_template=template("<image_placeholder>")
    )
    return hf.JanusForConditionalGeneration(config), processor


BUILDERS = {"deepseek_vl": deepseek_vl, "janus": janus}
