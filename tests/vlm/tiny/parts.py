"""What the tiny models share: sizes, a word-level tokenizer, a chat template, and a stand-in for video processors."""

from __future__ import annotations

from typing import Any

import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.video_processing_utils import VideoProcessorMixin

WORDS = ["describe", "the", "picture", "USER", "ASSISTANT", ":", "."] + [f"w{number}" for number in range(50)]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
SQUARE = {"height": 16, "width": 16}
# Wide enough that different prompts give different tokens.
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
SIGHT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
    "initializer_range": 0.3,
}

Parts = tuple[Any, Any]
"""A model and its processor."""


def tokenizer(*image_tokens: str, **named: str) -> hf.PreTrainedTokenizerFast:
    """Word-level, white space between words; ``named`` tokens become attributes such as ``image_token``."""
    extra = list(dict.fromkeys([*image_tokens, *named.values()]))
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *extra, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens([*SPECIAL, *extra])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=named,
        padding_side="left",
    )


def template(image: str) -> str:
    return (
        "{{ bos_token }}{% for message in messages %}{{ message.role | upper if message.role == 'user' else "
        "'ASSISTANT' }}: {% for part in message.content %}{% if part.type == 'image' %}" + image + "{% else %}"
        "{{ part.text }} {% endif %}{% endfor %}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
    )


def text(words: Any, **more: Any) -> dict[str, Any]:
    """Settings of a text decoder that knows these words."""
    return {**TEXT, "vocab_size": len(words), **more}


class NoVideo(VideoProcessorMixin):
    """Stands where a processor demands a video processor: the real ones cannot be made without torchvision."""

    num_frames, fps = 8, 1


def images_only(processor: type) -> Any:
    """The processor class, except that it takes `NoVideo`: without torchvision it looks for the base class in vain."""
    return type(processor.__name__, (processor,), {"check_argument_for_proper_class": lambda _, name, part: type(part)})
