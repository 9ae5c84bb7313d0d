"""TRL's collator, with every image preprocessed once for all answers, and the numbers of the rows."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BatchFeature
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from mmpref.align.preference_data import CROPPED, ROW
from mmpref.tables.conversations import SECOND
from mmpref.vlm.preprocess import processed

ROWS = "rows"
BESIDE = "beside"
"""Of a batch whose rows have a second rejected answer: the batch that has it in the first one's place."""


@dataclass
class PreferenceCollator(DataCollatorForVisionPreference):
    """TRL asks its processor for every prompt twice, for chosen and rejected. Ours is asked once, and doubles."""

    def __post_init__(self) -> None:
        self.processor: Any = _Doubling(self.processor)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example[ROW] for example in examples if ROW in example]
        seconds = [example[SECOND] for example in examples if SECOND in example]
        cropped = [example[CROPPED] for example in examples if CROPPED in example]
        ours = (ROW, SECOND, CROPPED)
        pairs = [{name: value for name, value in example.items() if name not in ours} for example in examples]
        with self.processor.once():
            batch = super().torch_call([dict(pair) for pair in pairs])
            if seconds:
                beside = [{**pair, "rejected": second} for pair, second in zip(pairs, seconds, strict=True)]
                batch[BESIDE] = super().torch_call(beside)
        if cropped:
            with self.processor.once():
                blind = [
                    {**pair, "images": images, "rejected": pair["chosen"]}
                    for pair, images in zip(pairs, cropped, strict=True)
                ]
                batch[CROPPED] = super().torch_call(blind)
        return {**batch, ROW: torch.tensor(rows)} if rows else batch


def as_they_are(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a batch, for a pair source that makes of them what is then collated."""
    return {ROWS: examples}


class _Doubling:
    """A processor that prepares the first half of prompts with images, and repeats the result for the second."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._prompts: BatchFeature | None = None

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Within it all prompts with images are the same, and prepared once."""
        try:
            yield
        finally:
            self._prompts = None

    def __getattr__(self, name: str) -> Any:
        if name == "_processor":  # while it is unpickled in a worker process
            raise AttributeError(name)
        return getattr(self._processor, name)

    def __call__(self, images: Any = None, text: Any = None, **settings: Any) -> BatchFeature:
        if images is None:
            return self._answers(text, settings)
        if self._prompts is None:
            self._prompts = self._prepared(images, text, settings)
        return BatchFeature(dict(self._prompts))  # TRL writes into it

    def _answers(self, text: Any, settings: dict[str, Any]) -> BatchFeature:
        if not marks_answers(self._processor):
            return self._processor(text=text, **settings)
        tokens = self._processor.tokenizer(text=text, **settings)
        return BatchFeature({**tokens, "token_type_ids": torch.full_like(tokens["input_ids"], ANSWER)})

    def _prepared(self, images: Any, text: Any, settings: dict[str, Any]) -> BatchFeature:
        half = len(text) // 2
        once = processed(self._processor, text[:half], images[:half], **settings)
        once.pop("labels", None)  # PaliGemma's, of a prompt without an answer
        return BatchFeature(
            {
                name: torch.cat([value, value]) if isinstance(value, torch.Tensor) else [*value, *value]
                for name, value in once.items()
            }
        )


ANSWER = 1
"""Token type of an answer where prompts see themselves both ways; their own is 0."""


def marks_answers(processor: Any) -> bool:
    """Whether token types tell a model which tokens are the prompt's, to be seen both ways, and which the answer's
    (PaliGemma). Its processor takes answers as suffixes, and no text without images."""
    return "suffix" in inspect.signature(type(processor).__call__).parameters
