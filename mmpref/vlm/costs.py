"""What a vision-language model takes: memory and time out of its sizes alone. Arithmetic, not a measurement.

A forward of an image and its text is 2 x parameters x tokens operations, at `UTILISATION` of what a device does in
large products of matrices. scripts/bench_sizes.py counts the operations of the engine itself: BDHS's figure is from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmpref.vlm.families import Family

PEAK, BANDWIDTH, MEMORY = 800e12, 4.3e12, 80e9
"""bf16 operations a second, bytes a second and bytes of one H100 or H200."""
UTILISATION = 0.4
"""Share of the peak that is reached."""
IMAGE_TOKENS = 2928
"""Of an image of LLaVA-1.6."""
TOKENS = 3000
"""Of such an image and its text."""
BDHS_PAIRS = 306_000
"""Pairs an hour of a 7B model at full use of `PEAK`, two tries a pair (scripts/bench_sizes.py: 306,428)."""
TRAINED, REFERENCE = 3, 1
"""Forwards of a pair: forward, its repetition by checkpointing, and backward to the adapter, with image and prompt once
for both answers; and of the reference, once a pair where the pairs stay."""

PROMPT, ANSWER, KEPT, NEW, ROWS = 60, 75, 29, 12, 256
"""Of BDHS: tokens of a prompt and an answer, image tokens that stay visible, new tokens a sentence, sentences at a
time."""
BATCH, WRITTEN = 32, 128
"""Answers at a time of ``evaluate``, and tokens of one, at most."""
PAIRS = 4
"""At a time on one device in training: the paper's ``per_device_train_batch_size``."""
_OPTIMIZED = 16
"""Bytes of a trained parameter: its value, its gradient and AdamW's two moments, in fp32."""
TEXT = 64
"""Tokens of a question beside its image."""


@dataclass(frozen=True)
class Sizes:
    """Of a model, counted without its weights.

    Args:
        parameters: all of them.
        decoder: those of the language model, without its output head.
        trained: those that a LoRA of the paper's rank and the projector have.
        hidden, intermediate, layers, vocabulary: of the language model.
        cached: numbers (keys and values of all layers) that the cache keeps of a token.
    """

    parameters: int
    decoder: int
    trained: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    cached: int


def sizes_of(config: Any, family: Family | None = None, rank: int = 128, trust_remote_code: bool = False) -> Sizes:
    """The sizes of a model with this configuration, which is built on the meta device, where no numbers are.

    Args:
        family: names the projector; without it none is trained.
        rank: of the LoRA.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    decoder, text = model.get_decoder(), config.get_text_config()
    linear = [module for module in decoder.modules() if isinstance(module, torch.nn.Linear)]
    trained = sum(rank * (module.in_features + module.out_features) for module in linear)
    if family and family.projector:
        projectors = [module for name, module in model.named_modules() if name.rpartition(".")[2] == family.projector]
        trained += sum(parameter.numel() for module in projectors for parameter in module.parameters())
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Sizes(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        decoder=sum(parameter.numel() for parameter in decoder.parameters()),
        trained=trained,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        cached=2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * width,
    )


def pool_bytes(sizes: Sizes, width: int = 2) -> float:
    """Of BDHS's cache of keys and values, at so many bytes a number."""
    return float(ROWS * (PROMPT + KEPT + ANSWER + NEW) * sizes.cached * width)


def build_bytes(sizes: Sizes, width: int = 2) -> float:
    """That a device holds in BDHS: weights, and the cache of a full pool of sentences.

    Args:
        width: bytes of a number: 2 in bf16, 4 in fp32.
    """
    return sizes.parameters * width + pool_bytes(sizes, width)


def evaluate_bytes(sizes: Sizes, width: int = 2, image_tokens: int = IMAGE_TOKENS) -> float:
    """In writing answers: weights, and the cache of a batch."""
    return sizes.parameters * width + float(BATCH * (image_tokens + TEXT + WRITTEN) * sizes.cached * width)


def train_bytes(sizes: Sizes, width: int = 2, image_tokens: int = IMAGE_TOKENS, quantized: bool = False) -> float:
    """In training with gradient checkpointing: weights; trained parameters with what AdamW keeps of them; the input of
    every layer, one layer in full, and the scores of the answers' tokens.

    Args:
        quantized: the language model's layers are in 4 bits (NF4, double quantization: 0.52 bytes a parameter).
    """
    layers = sizes.decoder - sizes.vocabulary * sizes.hidden if quantized else 0
    weights = (sizes.parameters - layers) * width + 0.52 * layers
    tokens = PAIRS * (image_tokens + PROMPT + 2 * ANSWER)
    inputs = tokens * sizes.hidden * sizes.layers * width
    layer = tokens * (8 * sizes.hidden + 6 * sizes.intermediate) * width
    scores = 3 * PAIRS * 2 * ANSWER * sizes.vocabulary * 4
    return weights + float(_OPTIMIZED * sizes.trained + inputs + layer + scores)


def forward_hours(parameters: float, tokens: float = TOKENS, peak: float = PEAK) -> float:
    """Of a forward of image and text; NaN of a size that is not known.

    Args:
        peak: operations a second that the device does in large products of matrices.
    """
    return 2 * parameters * tokens / (peak * UTILISATION) / 3600


def bdhs_hours(parameters: float, peak: float = PEAK) -> float:
    """Of a pair of BDHS, in which nearly all image tokens are hidden."""
    return parameters / 7e9 / (BDHS_PAIRS * UTILISATION) * PEAK / peak


def pair_hours(parameters: float, tokens: float = TOKENS, peak: float = PEAK) -> float:
    """Of a pair in one epoch of offline training; the reference is asked in the first one only."""
    return (TRAINED + REFERENCE) * forward_hours(parameters, tokens, peak)
