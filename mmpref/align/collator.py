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
from mmpref.tables.rows import REJECTED_POLICY
from mmpref.vlm.preprocess import preprocess

ROWS = "rows"
SECOND_BATCH = "second_batch"
"""Of a batch whose rows have a second rejected answer: the batch that has it in the first one's place."""


@dataclass
class PreferenceCollator(DataCollatorForVisionPreference):
    """TRL asks its processor for every prompt twice, for chosen and rejected. Ours is asked once, and doubles."""

    def __post_init__(self) -> None:
        self.processor: Any = _PairProcessor(self.processor)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example[ROW] for example in examples if ROW in example]
        seconds = [example[REJECTED_POLICY] for example in examples if REJECTED_POLICY in example]
        cropped = [example[CROPPED] for example in examples if CROPPED in example]
        own_columns = (ROW, REJECTED_POLICY, CROPPED)
        pairs = [{name: value for name, value in example.items() if name not in own_columns} for example in examples]
        with self.processor.same_prompts():
            batch = super().torch_call([dict(pair) for pair in pairs])
            if seconds:
                others = [{**pair, "rejected": second} for pair, second in zip(pairs, seconds, strict=True)]
                batch[SECOND_BATCH] = super().torch_call(others)
        if cropped:
            with self.processor.same_prompts():
                with_crops = [
                    {**pair, "images": images, "rejected": pair["chosen"]}
                    for pair, images in zip(pairs, cropped, strict=True)
                ]
                batch[CROPPED] = super().torch_call(with_crops)
        return {**batch, ROW: torch.tensor(rows)} if rows else batch


def keep_rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a batch, for a pair source that makes of them what is then collated."""
    return {ROWS: examples}


class _PairProcessor:
    """A processor that prepares the first half of prompts with images, and repeats the result for the second."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._prompts: BatchFeature | None = None

    @contextlib.contextmanager
    def same_prompts(self) -> Iterator[None]:
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
            return self._completions(text, settings)
        if self._prompts is None:
            self._prompts = self._doubled_prompts(images, text, settings)
        return BatchFeature(dict(self._prompts))  # TRL writes into it

    def _completions(self, text: Any, settings: dict[str, Any]) -> BatchFeature:
        if not has_answer_token_type(self._processor):
            return self._processor(text=text, **settings)
        tokens = self._processor.tokenizer(text=text, **settings)
        return BatchFeature({**tokens, "token_type_ids": torch.full_like(tokens["input_ids"], ANSWER_TOKEN_TYPE)})

    def _doubled_prompts(self, images: Any, text: Any, settings: dict[str, Any]) -> BatchFeature:
        half = len(text) // 2
        prompts = preprocess(self._processor, text[:half], images[:half], **settings)
        prompts.pop("labels", None)  # PaliGemma's, of a prompt without an answer
        return BatchFeature(
            {
                name: torch.cat([value, value]) if isinstance(value, torch.Tensor) else [*value, *value]
                for name, value in prompts.items()
            }
        )


ANSWER_TOKEN_TYPE = 1
"""Token type of an answer where prompts see themselves both ways; their own is 0."""


def has_answer_token_type(processor: Any) -> bool:
    """Whether token types tell a model which tokens are the prompt's, to be seen both ways, and which the answer's
    (PaliGemma). Its processor takes answers as suffixes, and no text without images."""
    return "suffix" in inspect.signature(type(processor).__call__).parameters
