"""Images decoded and prompts preprocessed in worker processes, ahead of the model that will be shown them."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpref.errors import ImageError, reason_of
from mmpref.images import decode
from mmpref.log import logger
from mmpref.types import Example, ImageData, Message
from mmpref.vlm.eight_bit import EightBit, eight_bit
from mmpref.vlm.preprocess import Inputs, PromptPreprocessor
from mmpref.workers import DeadlyTask, WorkerPool

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ImagePrompts:
    """Prompts about the same images.

    Args:
        images: as they are stored.
        prompts: of each, its turns.
    """

    images: tuple[ImageData, ...]
    prompts: tuple[tuple[Message, ...], ...]


_Packed = dict[str, "np.ndarray | EightBit"]
"""Inputs as they travel. As arrays: tensors would go through shared memory, of which containers have little."""


class DeadlyImageError(ImageError):
    """An image ends the process that decodes or preprocesses it."""


class PreprocessingPool:
    """Preprocessing ahead of the model: the same inputs in whatever process. An image that kills its process costs what
    is asked about that image only.

    Args:
        workers: how many processes; with 0, or where the processor cannot go to another process, everything happens
            here, when it is asked for.
    """

    def __init__(self, prompter: PromptPreprocessor, workers: int) -> None:
        if workers and (reason := _stays(prompter)):
            logger.warning("Warning: images are preprocessed by this process alone: %s.", reason)
            workers = 0
        self.workers = workers
        self._pool: WorkerPool[ImagePrompts, list[_Packed]] = WorkerPool(_Prepare(prompter), workers)

    def begin(self, examples: Sequence[Example]) -> None:
        """Start on examples that will be asked for soon."""
        self.begin_all([_prompts_of(example) for example in examples])

    def begin_all(self, prompts: Sequence[ImagePrompts]) -> None:
        """Start on prompts that `prepare_all` will be asked for soon."""
        self._pool.begin(prompts)

    def __call__(self, example: Example) -> Inputs:
        """The inputs of an example.

        Raises:
            ImageError: an image that cannot be decoded, or that the processor does not take.
        """
        try:
            [inputs] = self.prepare_all(_prompts_of(example))
        except DeadlyImageError as error:
            deadly = DeadlyImageError(f"the images of {example.id} end the process that preprocesses them.")
            deadly.shown = example.images
            raise deadly from error
        except ImageError as error:
            error.shown = example.images
            raise
        return inputs

    def prepare_all(self, prompts: ImagePrompts) -> list[Inputs]:
        """The inputs of prompts about the same images, which are preprocessed once.

        Raises:
            DeadlyImageError: they ended the process.
            ImageError: an image that cannot be decoded, or that the processor does not take.
        """
        try:
            prepared = self._pool(prompts)
        except DeadlyTask as error:
            names = ", ".join(image.name or "an image" for image in prompts.images)
            raise DeadlyImageError(f"{names}: preprocessing it ends the process that does it.") from error
        return _unpacked(prepared)

    def close(self) -> None:
        """End the worker processes; what they have not finished is forgotten."""
        self._pool.close()


class _Prepare:
    """What a worker process does."""

    def __init__(self, prompter: PromptPreprocessor) -> None:
        self._prompter, self._keeps_eight_bit = prompter, True

    def __call__(self, asked: ImagePrompts) -> list[_Packed]:
        images = [decode(image) for image in asked.images]
        if self._keeps_eight_bit:
            # What is wrong with an image is told below, of the processor as it is.
            with contextlib.suppress(Exception), eight_bit(self._prompter.processor.image_processor) as kept:
                prepared = self._prompter.prepare_all(asked.prompts, images)
                if (pixels := kept.pixels(prepared)) is not None:
                    return _packed(prepared, pixels)
        prepared = self._prompter.prepare_all(asked.prompts, images)
        self._keeps_eight_bit = False  # it does more to them: to try that once is enough
        return _packed(prepared)


def _packed(prepared: Sequence[Inputs], pixels: Mapping[int, EightBit] | None = None) -> list[_Packed]:
    """Inputs for the way; what prompts have in common is the same object, and travels once.

    Args:
        pixels: what stands for a tensor, by its `id`.
    """
    packed: dict[int, np.ndarray | EightBit] = dict(pixels or {})
    return [{name: packed.setdefault(id(value), value.numpy()) for name, value in one.items()} for one in prepared]


def _unpacked(packed: Sequence[_Packed]) -> list[Inputs]:
    tensors: dict[int, torch.Tensor] = {}
    for value in (value for inputs in packed for value in inputs.values()):
        if id(value) not in tensors:
            tensors[id(value)] = torch.from_numpy(value.floats() if isinstance(value, EightBit) else value)
    return [{name: tensors[id(value)] for name, value in inputs.items()} for inputs in packed]


def _stays(prompter: PromptPreprocessor) -> str | None:
    """Why a preprocessor cannot go to other processes; None where it can."""
    try:
        pickle.dumps(prompter)
    except Exception as error:  # classes say by whatever error that they cannot be pickled
        return f"its processor cannot go to others ({reason_of(error)})"
    return None


def _prompts_of(example: Example) -> ImagePrompts:
    return ImagePrompts(example.images, (example.prompt,))
