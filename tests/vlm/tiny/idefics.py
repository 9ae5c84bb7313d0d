"""Idefics2 and 3 and SmolVLM: a resampler or a pixel shuffle, tiles between text markers."""

from __future__ import annotations

from typing import Any

import transformers as hf
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.vlm.tiny.parts import SIGHT, NoVideo, Parts, images_only, template, text, tokenizer

TILED: dict[str, Any] = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}


def idefics2() -> Parts:
    words = tokenizer("<end_of_utterance>", image_token="<image>", image_boundary_token="<fake_token_around_image>")
    pixels = Idefics2ImageProcessorPil(size={"shortest_edge": 8, "longest_edge": 16}, do_image_splitting=False)
    processor = hf.Idefics2Processor(pixels, words, image_seq_len=4, chat_template=template("<image>"))
    latents = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 8}
    config = hf.Idefics2Config(
        vision_config=SIGHT,
        text_config=hf.MistralConfig(**text(words, sliding_window=None)),
        perceiver_config={**latents, "hidden_size": 32, "num_key_value_heads": 2, "initializer_range": 0.3},
        image_token_id=words.image_token_id,
    )
    return hf.Idefics2ForConditionalGeneration(config), processor


def _tiled_words() -> Any:
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    return tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles, image_token="<image>")


def idefics3() -> Parts:
    words = _tiled_words()
    config = hf.Idefics3Config(
        vision_config=SIGHT,
        text_config=hf.LlamaConfig(**text(words)),
        image_token_id=words.image_token_id,
        scale_factor=2,
        pad_token_id=0,
    )
    pixels = Idefics3ImageProcessorPil(**TILED)
    processor = hf.Idefics3Processor(pixels, words, image_seq_len=4, chat_template=template("<image>"))
    return hf.Idefics3ForConditionalGeneration(config), processor


def smolvlm() -> Parts:
    words = _tiled_words()
    config = hf.SmolVLMConfig(
        vision_config=SIGHT,
        text_config=hf.LlamaConfig(**text(words)),
        image_token_id=words.image_token_id,
        scale_factor=2,
        pad_token_id=0,
    )
    processing_smolvlm.num2words = processing_smolvlm.num2words or str  # it spells the number of frames of a video
    processor = images_only(hf.SmolVLMProcessor)(
        SmolVLMImageProcessorPil(**TILED), words, NoVideo(), image_seq_len=4, chat_template=template("<image>")
    )
    return hf.SmolVLMForConditionalGeneration(config), processor


BUILDERS = {"idefics2": idefics2, "idefics3": idefics3, "smolvlm": smolvlm}
