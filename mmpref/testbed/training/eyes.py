"""What the training asks of an architecture: what its tower takes and makes of a scene, and where a prompt has that.

A scene has regions: its nine cells, row by row, behind the whole picture made small where the architecture shows that
too (``gist``). The tower makes ``patches`` of a region, the projector ``tokens``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn

from mmpref.testbed.render import CELL, SIDE
from mmpref.testbed.world import COLUMNS, ROWS

CELLS = len(ROWS) * COLUMNS
_ROW_END = -1


class Eyes(ABC):
    """A model of one architecture, its processor, and how it sees 96 x 96 scenes."""

    gist: ClassVar[bool] = True
    patches: ClassVar[int] = 4
    tokens: ClassVar[int] = 1
    line_end: nn.Parameter | None = None
    """What stands at the end of a line of image tokens, where anything does."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @property
    @abstractmethod
    def width(self) -> int:
        """Of what the tower makes."""

    @property
    @abstractmethod
    def language(self) -> Any:
        """The language model, without its head."""

    @property
    @abstractmethod
    def projector(self) -> nn.Module:
        """From the tower to the language model."""

    @property
    @abstractmethod
    def tower(self) -> Iterable[nn.Parameter]:
        """The tower's parameters, without those of the projector."""

    @abstractmethod
    def inputs(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """What the processor makes of 96 x 96 pictures, faster: float32 (pictures, ...)."""

    @abstractmethod
    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the tower makes of inputs: (pictures, regions, patches, width)."""

    @abstractmethod
    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the projector makes of that: (pictures, regions, tokens, width of the language model)."""

    @abstractmethod
    def order(self) -> torch.Tensor:
        """Of each image token its number among the tokens of all regions, -1 for the end of a line: int64."""

    def positions(self, inputs: Any) -> torch.Tensor:
        """Of the tokens of prompts: int64 (rows, length), or (3, rows, length) where an image has height and width.

        Args:
            inputs: as the processor makes them, all of one length.
        """
        ids = inputs["input_ids"]
        return torch.arange(ids.shape[1]).expand_as(ids)

    @property
    def image_token(self) -> int:
        """The id that stands for an image, and for each token of it."""
        return int(self.processor.image_token_id)

    def cells(self) -> torch.Tensor:
        """Of each image token the cell that it shows, -1 where it shows none or all of them."""
        return (self.order() // self.tokens - int(self.gist)).clamp(min=-1)

    def in_order(self, projected: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """The image tokens of scenes, as they stand in a prompt: (scenes, image tokens, width)."""
        seen = projected.flatten(1, 2)
        if self.line_end is None:
            return seen[:, order]
        return torch.where((order < 0)[:, None], self.line_end, seen[:, order.clamp(min=0)])


class LlavaNextEyes(Eyes):
    """CLIP on the picture made small and on nine tiles; every patch is a token."""

    tokens = 4

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        self.core = model.model
        self.line_end = self.core.image_newline

    @property
    def width(self) -> int:
        return int(self.core.vision_tower.config.hidden_size)

    @property
    def language(self) -> Any:
        return self.core.language_model

    @property
    def projector(self) -> nn.Module:
        return self.core.multi_modal_projector

    @property
    def tower(self) -> Iterable[nn.Parameter]:
        return self.core.vision_tower.parameters()

    def inputs(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        return crops(self.processor.image_processor, pictures)

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.core.vision_tower(inputs.flatten(0, 1), output_hidden_states=True).hidden_states[-1][:, 1:]
        return hidden.unflatten(0, inputs.shape[:2])

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.projector(hidden)

    def order(self) -> torch.Tensor:
        regions = CELLS + 1
        numbers = torch.arange(regions * self.tokens, dtype=torch.float32).reshape(1, regions, self.tokens, 1)
        packed, _ = self.core.pack_image_features(
            list(numbers), torch.tensor([[SIDE, SIDE]]), "default", image_newline=torch.tensor([float(_ROW_END)])
        )
        return packed[0][:, 0].long()


def crops(images: Any, pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """The pictures made small, and their nine tiles: float32 (pictures, 10, 3, 32, 32).

    Args:
        images: the image processor, whose mean and deviation they are scaled by.
    """
    small = [np.asarray(Image.fromarray(p).resize((CELL, CELL), Image.Resampling.BICUBIC)) for p in pictures]
    tiles = np.stack(pictures).reshape(-1, 3, CELL, 3, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    every = np.concatenate([np.stack(small)[:, None], tiles.reshape(-1, CELLS, CELL, CELL, 3)], axis=1)
    return torch.from_numpy(scaled(images, every).transpose(0, 1, 4, 2, 3).copy())


def scaled(images: Any, pixels: np.ndarray) -> np.ndarray:
    """Pixels of 0 to 255, channels last, as an image processor scales them: float32."""
    mean, std = np.array(images.image_mean, np.float32), np.array(images.image_std, np.float32)
    return (pixels / np.float32(255) - mean) / std
