"""Models that mmpref refuses: images by cross-attention, convolutions and linear attention in the decoder."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    Siglip2ImageProcessorKwargs,
    Siglip2ImageProcessorPil,
)

from tests.vlm.tiny.llava import granite4_vision
from tests.vlm.tiny.parts import SIGHT, SQUARE, TEXT, Parts, template, text, tokenizer
from tests.vlm.tiny.qwen import ROPE, TOWER, qwen_processor, qwen_words


def _open_gates(model: torch.nn.Module) -> torch.nn.Module:
    """Gates of cross-attention start closed; open, the image is seen."""
    for name, weight in model.named_parameters():
        if "gate" in name.rsplit(".", 1)[-1]:
            torch.nn.init.constant_(weight, 1.0)
    return model


def mllama() -> Parts:
    words = tokenizer("<|python_tag|>", image_token="<|image|>")
    config = hf.MllamaConfig(
        vision_config={
            **{key: value for key, value in SIGHT.items() if key != "num_attention_heads"},
            "attention_heads": 4,
            "num_global_layers": 1,
            "intermediate_layers_indices": [0],
            "vision_output_dim": 64,
        },
        text_config=text(words, cross_attention_layers=[1]),
        image_token_index=words.image_token_id,
    )
    pixels = MllamaImageProcessorPil(size=SQUARE)
    processor = hf.MllamaProcessor(pixels, words, chat_template=template("<|image|>"))
    return _open_gates(hf.MllamaForConditionalGeneration(config)), processor


def idefics() -> Parts:
    words = tokenizer("<end_of_utterance>", "<fake_token_around_image>", image_token="<image>")
    sizes = {key: value for key, value in TEXT.items() if key != "num_key_value_heads"}
    sight = {**{key: value for key, value in SIGHT.items() if key != "hidden_size"}, "embed_dim": 32}
    config = hf.IdeficsConfig(
        **sizes, vocab_size=len(words), vision_config=sight, alpha_initializer="ones", use_resampler=False
    )
    processor = hf.IdeficsProcessor(IdeficsImageProcessorPil(image_size=16), words)
    processor.chat_template = template("")  # images go after the text, whatever the template says
    return hf.IdeficsForVisionText2Text(config), processor


class _Lfm2Settings(Siglip2ImageProcessorKwargs, total=False):
    return_row_col_info: bool


class _Lfm2Pixels(Siglip2ImageProcessorPil):
    """Images whole; LFM2-VL's own image processor exists for torchvision only."""

    valid_kwargs = _Lfm2Settings
    tile_size, downsample_factor, encoder_patch_size, use_thumbnail = 16, 2, 4, False

    def _preprocess(self, images: Any, **settings: Any) -> Any:
        images = [self.resize(image, size=hf.image_utils.SizeDict(height=24, width=40)) for image in images]
        seen = super()._preprocess(images, **{**settings, "do_resize": False})
        seen.update({"image_rows": [1] * len(images), "image_cols": [1] * len(images)})
        seen["image_sizes"] = [list(image.shape[-2:]) for image in images]
        return seen


def lfm2_vl() -> Parts:
    words = tokenizer("<|image_start|>", "<|image_end|>", image_token="<image>")
    sight = {key: value for key, value in SIGHT.items() if key != "image_size"}
    config = hf.Lfm2VlConfig(
        vision_config=hf.Siglip2VisionConfig(**sight, num_patches=64, vision_use_head=False),
        text_config=hf.Lfm2Config(**text(words, layer_types=["conv", "full_attention"])),
        image_token_id=words.image_token_id,
        projector_hidden_size=32,
        tie_word_embeddings=False,
    )
    pixels = _Lfm2Pixels(patch_size=4, max_num_patches=64)
    return hf.Lfm2VlForConditionalGeneration(config), hf.Lfm2VlProcessor(
        pixels, words, chat_template=template("<image>")
    )


def qwen3_5() -> Parts:
    words, ids = qwen_words()
    sight = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "num_position_embeddings": 16}
    linear = {f"linear_{part}_head_dim": 8 for part in ("key", "value")}
    linear |= {f"linear_num_{part}_heads": 2 for part in ("key", "value")}
    rope = {**ROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
    config = hf.Qwen3_5Config(
        vision_config={**TOWER, **sight},
        text_config=text(
            words, head_dim=8, rope_parameters=rope, layer_types=["linear_attention", "full_attention"], **linear
        ),
        **ids,
    )
    return hf.Qwen3_5ForConditionalGeneration(config), qwen_processor(hf.Qwen3VLProcessor, words)


BUILDERS = {
    "mllama": mllama,
    "idefics": idefics,
    "granite4_vision": granite4_vision,
    "lfm2_vl": lfm2_vl,
    "qwen3_5": qwen3_5,
}
