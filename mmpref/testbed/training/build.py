"""The untrained parts: word-level tokenizer, chat template, processor, and a small LlavaNext in one of three sizes.

What other architectures are made of is beside it, in `idefics3` and `qwen2_5_vl`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from mmpref.testbed.language import sentences
from mmpref.testbed.render import SIDE

BOS, EOS, PAD, UNK, IMAGE = "<s>", "</s>", "<pad>", "<unk>", "<image>"
TILE, PATCH = 32, 16
MAX_POSITIONS = 1024
IMAGE_TOKENS = 46
SPREAD = 0.06
"""Standard deviation of the language model's first weights."""
ROTATION = 1e6
"""Base of the rotary positions: what a word names is looked up at any distance by the many slow ones among them."""
_OPENERS = (
    "USER",
    "ASSISTANT",
    "Please",
    "Describe",
    "Answer",
    *["Is", "What", "Where", "How", "A", "An", "The", "There", "This", "At", "In", "Yes", "No"],
)
_EXTRA = ("yes", "no", "it", "not", "of", "with", "USER", "ASSISTANT")

CHAT_TEMPLATE = """{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['content'] is string -%}
    {%- set text = message['content'] -%}
  {%- else -%}
    {%- set parts = namespace(text='') -%}
    {%- for part in message['content'] -%}
      {%- set piece = '<image>' if part['type'] == 'image' else part['text'] -%}
      {%- set glue = '' if parts.text == '' or piece[0:1] in [' ', '\n'] else ' ' -%}
      {%- set parts.text = parts.text + glue + piece -%}
    {%- endfor -%}
    {%- set text = parts.text -%}
  {%- endif -%}
  {%- if message['role'] == 'assistant' -%}
    {{- ' ASSISTANT: ' -}}{%- generation -%}{{- text + eos_token -}}{%- endgeneration -%}
  {%- elif message['role'] == 'system' -%}
    {{- text + ' ' -}}
  {%- else -%}
    {{- 'USER: ' + text -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- ' ASSISTANT:' -}}{%- endif -%}
"""


def chat_template(image: str = IMAGE) -> str:
    """The chat template, with what stands for an image in a prompt."""
    return CHAT_TEMPLATE.replace(f"'{IMAGE}'", f"'{image}'")


def word_tokenizer(
    named: Mapping[str, str] | None = None, extra: Sequence[str] = (), bos: bool = True
) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer of the world's words.

    A word carries the space before it; marks of punctuation and line breaks stand alone. So decoding gives the
    text back as it was written. Words that may open a line are also known without a space.

    Args:
        named: special tokens that are attributes, such as ``image_token``.
        extra: other special tokens.
    """
    named = named or {}
    words = sorted({word for text in sentences() for word in re.findall(r"\w+", text)} | set(_EXTRA))
    pieces = [".", ",", "?", ":", "\n", "▁", *("▁" + word for word in words), *sorted(_OPENERS)]
    vocabulary = {token: number for number, token in enumerate([PAD, BOS, EOS, UNK, *named.values(), *extra, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[.,?:\n]"), "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(list(extra))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        **({"bos_token": BOS, "eos_token": EOS} if bos else {}),
        extra_special_tokens=dict(named),
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def processor() -> LlavaNextProcessor:
    """Build the processor: 46 image tokens for a 96 x 96 scene (4 thumbnail, 36 tiles, 6 row ends)."""
    square = {"height": TILE, "width": TILE}
    images = LlavaNextImageProcessorPil(
        size=square,
        crop_size=square,
        image_grid_pinpoints=[[SIDE, SIDE]],
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaNextProcessor(
        image_processor=images,
        tokenizer=word_tokenizer({"image_token": IMAGE}),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )


@dataclass(frozen=True)
class Size:
    """Of the model: hidden width and layers of the tower and of the language model."""

    tower: int = 64
    tower_layers: int = 3
    language: int = 96
    language_layers: int = 3


SIZES = {"0.5M": Size(), "1.5M": Size(96, 3, 160, 4), "4M": Size(128, 4, 256, 5)}


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Settings of a text model and of generation."""
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def text_settings(tokenizer: PreTrainedTokenizerFast, size: Size) -> dict[str, Any]:
    """Settings of the language model, but for its positions."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": size.language,
        "intermediate_size": 3 * size.language,
        "num_hidden_layers": size.language_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": True,
        "initializer_range": SPREAD,
        **special_ids(tokenizer),
    }


def llama(tokenizer: PreTrainedTokenizerFast, size: Size) -> LlamaConfig:
    """The language model of LLaVA-NeXT and Idefics3."""
    return LlamaConfig(
        **text_settings(tokenizer, size),
        head_dim=max(32, size.language // 4),
        rope_parameters={"rope_type": "default", "rope_theta": ROTATION},
    )


def model(tokenizer: PreTrainedTokenizerFast, size: Size = SIZES["0.5M"]) -> LlavaNextForConditionalGeneration:
    """Build the untrained model for a tokenizer; weights come from torch's global generator."""
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.tower,
            intermediate_size=3 * size.tower,
            num_hidden_layers=size.tower_layers,
            num_attention_heads=4,
            image_size=TILE,
            patch_size=PATCH,
            projection_dim=size.tower,
        ),
        text_config=llama(tokenizer, size),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=[[SIDE, SIDE]],
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    network = LlavaNextForConditionalGeneration(config)
    network.generation_config = GenerationConfig(**special_ids(tokenizer))
    return network
