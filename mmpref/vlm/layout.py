"""Prompts and the texts that follow them as one padded batch: where each slot comes from, in vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from mmpref.vlm.transfers import on_device, to_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt


class Layout:
    """The layout of such a batch [G, T], padded on the right. Nothing is read from the device.

    Args:
        text_lengths: tokens of the text behind each prompt.

    Attributes:
        valid: bool [G, T], the slots that are no padding.
        positions: long [A, G, T].
        order: long [G, T]; like positions, 0 in padding.
    """

    def __init__(self, prompts: Sequence[EncodedPrompt], text_lengths: Sequence[int]) -> None:
        self._prompts = prompts
        device, sizes = prompts[0].embeds.device, [len(prompt.embeds) for prompt in prompts]
        lengths = [size + text for size, text in zip(sizes, text_lengths, strict=True)]
        begins = [*accumulate(sizes, initial=0)]
        begin, size, length = on_device([begins[:-1], sizes, lengths], device)[:, :, None]
        slot = torch.arange(max(lengths), device=device)
        self._behind = (slot - size + 1).clamp(min=0)
        """How far behind the prompt's last token each slot stands."""
        self._source = begin + torch.minimum(slot, size - 1)
        """The token of all prompts that each slot holds, or that its text follows."""
        self.valid = slot < length
        # A prompt without images may have one axis where others have 3.
        axes = max(len(prompt.positions) for prompt in prompts)
        self.positions = self._spread(torch.cat([prompt.positions.expand(axes, -1) for prompt in prompts], 1))
        self.order = self._spread(torch.cat([prompt.order for prompt in prompts]))

    def _spread(self, numbers: torch.Tensor) -> torch.Tensor:
        return (numbers[..., self._source] + self._behind).masked_fill_(~self.valid, 0)

    def embeds(self, texts: torch.Tensor | None) -> torch.Tensor:
        """Embeddings [G, T, H], those of texts [G, L, H] behind the prompts; zero in padding."""
        parts = [prompt.embeds for prompt in self._prompts]
        count, source = sum(map(len, parts)), self._source
        if texts is not None:
            rows, longest = texts.shape[:2]
            row = torch.arange(rows, device=texts.device)[:, None]
            source = torch.where(self._behind > 0, count + row * longest + self._behind - 1, source)
            count += rows * longest
            parts.append(texts.flatten(0, 1).to(parts[0].dtype))
        parts.append(parts[0].new_zeros(1, parts[0].shape[1]))
        return torch.cat(parts)[source.masked_fill(~self.valid, count)]

    def is_image(self) -> torch.Tensor:
        """Bool [G, T], the slots that hold image features."""
        is_image = to_device(torch.cat([prompt.is_image for prompt in self._prompts]), self.valid.device)
        return is_image[self._source] & (self._behind == 0) & self.valid
