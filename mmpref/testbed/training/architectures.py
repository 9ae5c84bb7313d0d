"""The architectures that the testbed's model may have: the same world, by the same training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmpref.testbed.training import build, idefics3, qwen2_5_vl
from mmpref.testbed.training.eyes import Eyes, LlavaNextEyes

LLAVA_NEXT = "llava-next"


def _llava_next(size: build.Size) -> Eyes:
    processor = build.processor()
    return LlavaNextEyes(build.model(processor.tokenizer, size), processor)


EYES: Mapping[str, Callable[[build.Size], Eyes]] = {
    LLAVA_NEXT: _llava_next,
    "idefics3": idefics3.eyes,
    "qwen2.5-vl": qwen2_5_vl.eyes,
}
"""Untrained models by name."""


def save_processor(processor: Any, folder: Path) -> None:
    """Save a processor as its architecture's checkpoints have it.

    One that has no real video processor is saved in parts, as older checkpoints of the kind were: loading it then makes
    the usual one.
    """
    if not hasattr(processor, "video_processor"):
        processor.save_pretrained(folder)
        return
    processor.tokenizer.chat_template = processor.chat_template
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
