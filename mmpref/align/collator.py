"""TRL's collator, with every image preprocessed once for all answers, and the numbers of the rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchFeature
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from mmpref.align.preference_data import NOISE, OTHER_PAIR, ROW
from mmpref.align.weights import ROW_WEIGHT, TOKEN_WEIGHTS, token_weights
from mmpref.tables.rows import REJECTED_POLICY
from mmpref.tables.weights import SPANS
from mmpref.types import messages, text_of
from mmpref.vlm.answer_tokens import Tokens
from mmpref.vlm.noise import add_noise
from mmpref.vlm.preprocess import PromptPreprocessor, has_answer_token_type, place_in, preprocess

if TYPE_CHECKING:
    import numpy as np

ROWS = "rows"
SECOND_BATCH = "second_batch"
"""Of a batch whose rows have a second rejected answer: the batch that has it in the first one's place."""


@dataclass
class PreferenceCollator(DataCollatorForVisionPreference):
    """TRL asks its processor for every prompt twice, for chosen and rejected. Ours is asked once, and doubles.

    Texts are rendered here. Of a prompt TRL by itself (`trl.data_utils.apply_chat_template`) keeps what the rendered
    answers share with it, which is less than what a model has before it when it writes, where the chat template's
    generation prompt differs; and it ends the turn of a context, and begins another one in front of the answers that go
    on from there.

    Args:
        ends: answers have what ends them in the prompt format, an EOS; without, a pair is of their own words only.
    """

    ends: bool = True

    def __post_init__(self) -> None:
        self._prompter = PromptPreprocessor(self.processor)
        self.processor: Any = _PairProcessor(self.processor)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example[ROW] for example in examples if ROW in example]
        seconds = [example[REJECTED_POLICY] for example in examples if REJECTED_POLICY in example]
        others = [example[OTHER_PAIR] for example in examples if OTHER_PAIR in example]
        noise = next((example[NOISE] for example in examples if NOISE in example), None)
        own_columns = (ROW, REJECTED_POLICY, OTHER_PAIR, NOISE, ROW_WEIGHT, *SPANS.values())
        pairs = [{name: value for name, value in example.items() if name not in own_columns} for example in examples]
        with self.processor.same_prompts():
            batch = self._collate(pairs)
            if rows and any(column in examples[0] for column in SPANS.values()):  # else no loss is asked for
                batch[TOKEN_WEIGHTS] = self._token_weights(examples)
            if seconds:
                with_seconds = [{**pair, "rejected": second} for pair, second in zip(pairs, seconds, strict=True)]
                batch[SECOND_BATCH] = self._collate(with_seconds)
        if others:
            with self.processor.same_prompts():
                of_others = [{**pair, **other} for pair, other in zip(pairs, others, strict=True)]
                batch[OTHER_PAIR] = self._collate(of_others)
            if noise:
                batch[OTHER_PAIR]["pixel_values"] = self._under_noise(batch[OTHER_PAIR]["pixel_values"], *noise)
        if ROW_WEIGHT in examples[0]:
            batch[ROW_WEIGHT] = torch.tensor([float(example[ROW_WEIGHT]) for example in examples])
        return {**batch, ROW: torch.tensor(rows)} if rows else batch

    def _collate(self, pairs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch, of texts: prompts are what they are where the model writes, and answers stand behind them."""
        return super().torch_call([self._rendered(pair) for pair in pairs])

    def _rendered(self, pair: dict[str, Any]) -> dict[str, Any]:
        prompt, images = messages(pair["prompt"]), len(pair["images"])
        opening = self._prompter.render(prompt, images)
        texts = {"prompt": opening}
        for name in ("chosen", "rejected"):
            answer = text_of(pair[name])
            text = self._prompter.render_answer(prompt, images, answer)
            text = text if self.ends else text[: place_in(text, answer, "answer") + len(answer)]
            texts[name] = _Answer.behind(opening, text)
        return {"images": pair["images"], **texts}

    def _under_noise(self, pixels: torch.Tensor, steps: int, generator: np.random.Generator) -> torch.Tensor:
        """Pixel values of chosen and rejected answers' images under the same noise."""
        half = pixels[: len(pixels) // 2]
        noisy = add_noise(half, steps, generator, self.processor)
        return torch.cat([noisy, noisy])

    def _token_weights(self, examples: list[dict[str, Any]]) -> torch.Tensor:
        """The weights of the tokens of the completions that were just processed."""
        weights = [
            torch.tensor(token_weights(tokens.spans, text, text_of(row[answer]), row.get(column) or []))
            for (answer, column), written in zip(SPANS.items(), self.processor.answers[-2:], strict=True)
            for row, (text, tokens) in zip(examples, written, strict=True)
        ]
        return torch.nn.utils.rnn.pad_sequence(weights, batch_first=True)


def keep_rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a batch, for a pair source that makes of them what is then collated."""
    return {ROWS: examples}


class _Answer(str):
    """What follows a rendered prompt, its opening."""

    opening = ""

    @classmethod
    def behind(cls, opening: str, text: str) -> _Answer:
        answer = cls(text)
        answer.opening = opening
        return answer


class _PairProcessor:
    """A processor that prepares the first half of prompts with images, and repeats the result for the second."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._prompter = PromptPreprocessor(processor)
        self._prompts: BatchFeature | None = None
        self.answers: list[list[tuple[str, Tokens]]] = []
        """The last texts of answers, and their tokens."""

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
        if isinstance(text[0], _Answer):
            return self._answers(text, settings)
        if images is None:
            return self._texts(text, settings)
        if self._prompts is None:
            self._prompts = self._doubled_prompts(images, text, settings)
        return BatchFeature(dict(self._prompts))  # TRL writes into it

    def _answers(self, texts: Any, settings: dict[str, Any]) -> BatchFeature:
        """Answers as they stand behind their prompts; by itself the processor would begin texts with them."""
        tokens = [self._prompter.tokenize(text.opening, text) for text in texts]
        self.answers = [*self.answers[-1:], list(zip(texts, tokens, strict=True))]
        padding = {name: settings[name] for name in ("padding", "padding_side", "return_tensors")}
        padded = self._processor.tokenizer.pad({"input_ids": [each.ids for each in tokens]}, **padding)
        token_type = ANSWER_TOKEN_TYPE if has_answer_token_type(self._processor) else 0
        return BatchFeature({**padded, "token_type_ids": torch.full_like(padded["input_ids"], token_type)})

    def _texts(self, texts: Any, settings: dict[str, Any]) -> BatchFeature:
        """Prompts without images."""
        if not has_answer_token_type(self._processor):
            return self._processor(text=texts, **settings)
        tokens = self._processor.tokenizer(text=texts, **settings)
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
