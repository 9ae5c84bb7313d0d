"""A tiny random policy of every family: model from config objects, processor in code, nothing downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from mmpref.types import ModelRef
from mmpref.vlm.families import find_family
from mmpref.vlm.policy import Policy

WORDS = ["describe", "the", "picture", "USER", "ASSISTANT", ":", "."] + [f"w{number}" for number in range(50)]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
PINPOINTS = [[16, 32], [32, 16], [32, 32]]
# Wide enough that different prompts give different tokens.
TEXT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "max_position_embeddings": 1024, "tie_word_embeddings": False,
}  # fmt: skip
SIGHT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16,
    "patch_size": 4, "initializer_range": 0.3,
}  # fmt: skip
SQUARE = {"height": 16, "width": 16}


def tokenizer(*image_tokens: str, **named: str) -> hf.PreTrainedTokenizerFast:
    """Word-level, white space between words; ``named`` tokens become attributes such as ``image_token``."""
    extra = list(dict.fromkeys([*image_tokens, *named.values()]))
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *extra, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens([*SPECIAL, *extra])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens=named, padding_side="left",
    )  # fmt: skip


def template(image: str) -> str:
    return (
        "{{ bos_token }}{% for message in messages %}{{ message.role | upper if message.role == 'user' else "
        "'ASSISTANT' }}: {% for part in message.content %}{% if part.type == 'image' %}" + image + "{% else %}"
        "{{ part.text }} {% endif %}{% endfor %}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
    )


def _text(words: Any) -> dict[str, Any]:
    return {**TEXT, "vocab_size": len(words)}


def _llava() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT), text_config=hf.LlamaConfig(**_text(words)),
        image_token_index=words.image_token_id, image_seq_length=16, vision_feature_layer=-1,
    )  # fmt: skip
    processor = hf.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=SQUARE), words, patch_size=4,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=template("<image>"),
    )  # fmt: skip
    return hf.LlavaForConditionalGeneration(config), processor


def _llava_next() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT), text_config=hf.LlamaConfig(**_text(words)),
        image_token_index=words.image_token_id, image_grid_pinpoints=PINPOINTS, vision_feature_layer=-1,
    )  # fmt: skip
    processor = hf.LlavaNextProcessor(
        LlavaNextImageProcessorPil(size={"shortest_edge": 16}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS),
        words, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )  # fmt: skip
    return hf.LlavaNextForConditionalGeneration(config), processor


def _idefics3() -> tuple[Any, Any]:
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles, image_token="<image>")
    config = hf.Idefics3Config(
        vision_config=SIGHT, text_config=hf.LlamaConfig(**_text(words)), image_token_id=words.image_token_id,
        scale_factor=2, pad_token_id=0,
    )  # fmt: skip
    pixels = Idefics3ImageProcessorPil(size={"longest_edge": 32}, max_image_size={"longest_edge": 16})
    processor = hf.Idefics3Processor(pixels, words, image_seq_len=4, chat_template=template("<image>"))
    return hf.Idefics3ForConditionalGeneration(config), processor


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "idefics3": _idefics3,
}


def tiny(model_type: str) -> Policy:
    """A policy of that family with seeded random weights, fp32."""
    torch.manual_seed(0)
    model, processor = BUILDERS[model_type]()
    return Policy(model.float().eval(), processor, find_family(model_type, "tiny"), ModelRef("tiny"))
