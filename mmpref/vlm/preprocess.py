"""Prompts and their images before any model: rendering and preprocessing, in this process or ahead of it in others."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import torch

from mmpref.errors import ImageError, RunError, is_out_of_memory, reason_of
from mmpref.images import decode as decode_image
from mmpref.types import Example, Message

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Inputs = dict[str, torch.Tensor]
"""What a processor makes of one prompt with its images, on the CPU; the batch dimension (or its stand-in) is 1."""


def preprocess(processor: Any, text: list[str], images: Sequence[Sequence[Image.Image]], **settings: Any) -> Any:
    """What a processor makes of prompts and the images of each, which reach it as RGB. This is the one place where an
    image that decodes, but is none for this model (too narrow, say), is told from another fault.

    Args:
        settings: further arguments of the processor.

    Raises:
        ImageError: the processor does not take the images, whatever the text beside them.
    """
    batch = [[image if image.mode == "RGB" else image.convert("RGB") for image in row] for row in images]
    try:
        return processor(text=text, images=batch, **settings)
    except Exception as error:  # each family's processor raises what it likes
        if not is_out_of_memory(error):
            for row in batch:
                if reason := _refusal(processor, row):
                    sizes = " and ".join(f"{image.width} x {image.height}" for image in row)
                    raise ImageError(
                        f"an image of {sizes} pixels is none for this model: {reason.rstrip('.')}."
                    ) from error
        raise


def _refusal(processor: Any, images: Sequence[Image.Image]) -> str | None:
    """Why a processor does not take images beside a harmless question; None where it does."""
    parts = [*({"type": "image"} for _ in images), {"type": "text", "text": "Describe it."}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    try:
        processor(text=[text], images=[list(images)], return_tensors="pt", add_special_tokens=False)
    except Exception as error:
        return reason_of(error).rstrip(".")
    return None


class PromptPreprocessor:
    """A processor whose chat template writes the model's true format (`mmpref.vlm.chat_template`)."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def render(self, messages: Sequence[Message], images: int, *, generation: bool = True) -> str:
        """The conversation in the model's prompt format; image placeholders stand in the first user turn.

        Args:
            images: how many.
            generation: end with the opening of the assistant's answer.
        """
        conversation: list[dict[str, Any]] = []
        left = images
        for message in messages:
            parts: list[dict[str, str]] = []
            if message.role == "user" and left:
                parts = [{"type": "image"}] * left
                left = 0
            conversation.append({"role": message.role, "content": [*parts, {"type": "text", "text": message.content}]})
        text: str = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=generation)
        return text

    def prepare(self, messages: Sequence[Message], images: Sequence[Image.Image]) -> Inputs:
        """Render one prompt and preprocess its images: all of the work that needs no model.

        Raises:
            ImageError: the processor does not take the images.
        """
        text = [self.render(messages, len(images))]
        if images:
            prepared = preprocess(self.processor, text, [list(images)], return_tensors="pt", add_special_tokens=False)
        else:  # the tokenizer does all that there is to do, and some processors refuse
            prepared = self.processor.tokenizer(text=text, return_tensors="pt", add_special_tokens=False)
        return {name: value for name, value in prepared.items() if isinstance(value, torch.Tensor)}

    def prepare_all(self, prompts: Sequence[Sequence[Message]], images: Sequence[Image.Image]) -> list[Inputs]:
        """`prepare` several prompts about the same images, which are preprocessed once."""
        if len(prompts) == 1 or not images:
            return [self.prepare(messages, images) for messages in prompts]
        image_processor = self.processor.image_processor
        self.processor.image_processor = _CachedImageProcessor(image_processor)
        try:
            return [self.prepare(messages, images) for messages in prompts]
        finally:
            self.processor.image_processor = image_processor

    def __call__(self, example: Example) -> Inputs:
        """`prepare` the prompt and the encoded images of an example.

        Raises:
            ImageError: an image that cannot be decoded, or that the processor does not take.
        """
        return self.prepare(example.prompt, [decode_image(image) for image in example.images])


class _CachedImageProcessor:
    """An image processor that works the first time, and then gives the same again."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._output: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if self._output is None:
            self._output = self._processor(*args, **settings)
        return type(self._output)(dict(self._output))  # processors take parts out of it


class PreprocessingPool:
    """Preprocessing in worker processes, ahead of the model. An image that ends its process costs that example only;
    that somebody kills the process, as systems do that are short of memory, is no image's fault.

    Args:
        workers: how many processes; with 0 everything happens here, when it is asked for.
    """

    def __init__(self, prompter: PromptPreprocessor, workers: int) -> None:
        self._prompter, self._workers = prompter, workers
        self._executor: ProcessPoolExecutor | None = None
        self._futures: dict[str, Future[dict[str, np.ndarray]]] = {}
        self._processes: set[BaseProcess] = set()

    def begin(self, examples: Sequence[Example]) -> None:
        """Start on examples that will be asked for soon."""
        if self._workers:
            for example in examples:
                self._futures[example.id] = self._submit(example)

    def __call__(self, example: Example) -> Inputs:
        """The inputs of an example.

        Raises:
            ImageError: an image that cannot be decoded, or whose preprocessing ended the process.
            RunError: the process was killed, twice.
        """
        if not self._workers:
            return self._prompter(example)
        future = self._futures.pop(example.id, None)
        try:
            arrays = (future or self._submit(example)).result()
        except BrokenProcessPool:
            arrays = self._prepare_alone(example)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _prepare_alone(self, example: Example) -> dict[str, np.ndarray]:
        """Once a process has died, by this example or by another one that was in work: only its own death counts."""
        self.close()
        self._processes.clear()
        try:
            return self._submit(example).result()
        except BrokenProcessPool as error:
            self.close()
            if any(process.exitcode == -signal.SIGKILL for process in self._processes):
                raise RunError(
                    "A process that preprocesses images was killed twice.",
                    "Mostly the machine has too little memory: use fewer --workers. The same command goes on.",
                ) from error
            raise ImageError(f"the images of {example.id} end the process that preprocesses them.") from error

    def _submit(self, example: Example) -> Future[dict[str, np.ndarray]]:
        if self._executor is None:
            # Spawned: a forked copy of a process that uses an accelerator, or threads, may hang.
            self._executor = ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _start_worker, (self._prompter,)
            )
        try:
            future = self._executor.submit(_prepare_in_worker, example)
        except BrokenProcessPool:
            self.close()
            return self._submit(example)
        self._processes.update(multiprocessing.active_children())
        return future

    def close(self) -> None:
        """End the worker processes; what they have not finished is forgotten."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
        self._futures.clear()


_worker_prompter: PromptPreprocessor | None = None


def _start_worker(prompter: PromptPreprocessor) -> None:
    global _worker_prompter
    _worker_prompter = prompter
    torch.set_num_threads(1)


def _prepare_in_worker(example: Example) -> dict[str, np.ndarray]:
    assert _worker_prompter is not None
    # As arrays: tensors would travel through shared memory, of which containers have little.
    return {name: value.numpy() for name, value in _worker_prompter(example).items()}
