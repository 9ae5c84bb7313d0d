"""A tiny random model and policy of every family: model from config objects, processor in code, nothing downloaded.

A key is a model type, or a model type with another decoder or tower: ``llava_pixtral``, ``mistral3_sliding``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mmpref.types import ModelRef
from mmpref.vlm.families import find_family
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import gemma, idefics, janus, llava, pixtral, qwen, refused, tiles
from tests.vlm.tiny.parts import Parts, template, tokenizer

__all__ = ["BUILDERS", "REFUSED", "in_blocks", "parts", "policy_of", "template", "tiny", "tokenizer"]

BUILDERS: dict[str, Callable[[], Parts]] = {
    **llava.BUILDERS,
    **pixtral.BUILDERS,
    **qwen.BUILDERS,
    **idefics.BUILDERS,
    **gemma.BUILDERS,
    **tiles.BUILDERS,
    **janus.BUILDERS,
}
REFUSED: dict[str, Callable[[], Parts]] = refused.BUILDERS


def parts(name: str) -> Parts:
    """A model with seeded random weights, fp32, in eval mode, and its processor."""
    torch.manual_seed(0)
    model, processor = (BUILDERS | REFUSED)[name]()
    return model.float().eval(), processor


def tiny(name: str) -> Policy:
    """A policy of those parts.

    Raises:
        ModelError: mmpref refuses the family.
    """
    model, processor = parts(name)
    return Policy(model, processor, find_family(model.config.model_type, "tiny"), ModelRef("tiny"))


policy_of = cache(tiny)
"""One policy of a name for all tests of a process: for those that leave it as it is."""


def in_blocks(folder: Path) -> str:
    """A folder with a LLaVA-NeXT whose linear layers bitsandbytes can hold in 4 bits on a CPU: sizes of 64 and 128."""
    torch.manual_seed(0)
    model, processor = llava.llava_next(hidden_size=64, intermediate_size=128)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def picture(seed: int = 0, height: int = 24, width: int = 40) -> Image.Image:
    """A picture of noise, RGB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
