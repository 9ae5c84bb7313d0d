"""TRL's collator, with every image preprocessed once for all answers, and the numbers of the rows."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchFeature
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from mmpref.align.preference_data import NOISE, OTHER_PAIR, ROW
from mmpref.align.weights import ROW_WEIGHT, SPANS, TOKEN_WEIGHTS, token_weights
from mmpref.tables.rows import REJECTED_POLICY
from mmpref.types import text_of
from mmpref.vlm.noise import add_noise
from mmpref.vlm.preprocess import preprocess

if TYPE_CHECKING:
    import numpy as np

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
        others = [example[OTHER_PAIR] for example in examples if OTHER_PAIR in example]
        noise = next((example[NOISE] for example in examples if NOISE in example), None)
        own_columns = (ROW, REJECTED_POLICY, OTHER_PAIR, NOISE, ROW_WEIGHT, *SPANS.values())
        pairs = [{name: value for name, value in example.items() if name not in own_columns} for example in examples]
        with self.processor.same_prompts():
            batch = super().torch_call([dict(pair) for pair in pairs])
            if rows and any(column in examples[0] for column in SPANS.values()):  # else no loss is asked for
                batch[TOKEN_WEIGHTS] = self._token_weights(examples)
            if seconds:
                with_seconds = [{**pair, "rejected": second} for pair, second in zip(pairs, seconds, strict=True)]
                batch[SECOND_BATCH] = super().torch_call(with_seconds)
        if others:
            with self.processor.same_prompts():
                of_others = [{**pair, **other} for pair, other in zip(pairs, others, strict=True)]
                batch[OTHER_PAIR] = super().torch_call(of_others)
            if noise:
                batch[OTHER_PAIR]["pixel_values"] = self._under_noise(batch[OTHER_PAIR]["pixel_values"], *noise)
        if ROW_WEIGHT in examples[0]:
            batch[ROW_WEIGHT] = torch.tensor([float(example[ROW_WEIGHT]) for example in examples])
        return {**batch, ROW: torch.tensor(rows)} if rows else batch

    def _under_noise(self, pixels: torch.Tensor, steps: int, generator: np.random.Generator) -> torch.Tensor:
        """Pixel values of chosen and rejected answers' images under the same noise."""
        half = pixels[: len(pixels) // 2]
        noisy = add_noise(half, steps, generator, self.processor)
        return torch.cat([noisy, noisy])

    def _token_weights(self, examples: list[dict[str, Any]]) -> torch.Tensor:
        """The weights of the tokens of the completions that were just processed."""
        weights = [
            torch.tensor(token_weights(self.processor.tokenizer, text, text_of(row[answer]), row.get(column) or []))
            for (answer, column), texts in zip(SPANS.items(), self.processor.completions[-2:], strict=True)
            for row, text in zip(examples, texts, strict=True)
        ]
        return torch.nn.utils.rnn.pad_sequence(weights, batch_first=True)


def keep_rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a batch, for a pair source that makes of them what is then collated."""
    return {ROWS: examples}


class _PairProcessor:
    """A processor that prepares the first half of prompts with images, and repeats the result for the second."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._prompts: BatchFeature | None = None
        self.completions: list[list[str]] = []
        """The last texts of answers."""

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
        self.completions = [*self.completions[-1:], list(text)]
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
