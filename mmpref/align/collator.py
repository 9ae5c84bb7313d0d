"""TRL's collator, with every image preprocessed once for both answers, and the numbers of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import BatchFeature
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from mmpref.align.rows import ROW

ROWS = "rows"


@dataclass
class PreferenceCollator(DataCollatorForVisionPreference):
    """TRL asks its processor for every prompt twice, for chosen and rejected. Ours is asked once, and doubles."""

    def __post_init__(self) -> None:
        self.processor: Any = _Doubling(self.processor)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example.pop(ROW) for example in examples if ROW in example]
        batch = super().torch_call(examples)
        return {**batch, ROW: torch.tensor(rows)} if rows else batch


def as_they_are(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a batch, for a pair source that makes of them what is then collated."""
    return {ROWS: examples}


class _Doubling:
    """A processor that prepares the first half of prompts with images, and repeats the result for the second."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        if name == "_processor":  # while it is unpickled in a worker process
            raise AttributeError(name)
        return getattr(self._processor, name)

    def __call__(self, images: Any = None, text: Any = None, **settings: Any) -> BatchFeature:
        if images is None:
            return self._processor(text=text, **settings)
        half = len(text) // 2
        once = self._processor(images=images[:half], text=text[:half], **settings)
        return BatchFeature({name: torch.cat([value, value]) if isinstance(value, torch.Tensor) else [*value, *value]
                             for name, value in once.items()})  # fmt: skip
