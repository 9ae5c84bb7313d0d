"""Prompts and what stands behind them as one batch: where each slot comes from and what it sees, in vectors.

What a slot sees is written once, as a function of numbers of slots (`Seen`): evaluated on all of them it is the mask
that torch's attention takes, and FlexAttention makes blocks of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmpref.vlm.transfers import on_device, to_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt

PROMPT, PADDING = -1, -2
"""What a slot holds that is of no branch: what all branches behind it see, and nothing."""

Seen = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Whether queries see keys, bool, given the numbers of sequence, head, query and key, in shapes that broadcast."""


class Slots:
    """The slots [B, T] of such a batch. Nothing is read from the device.

    Args:
        prompts: those that the batch holds.
        source: long [B, T], the token of all prompts, one after the other, that each slot holds, or stands behind.
        behind: long [B, T], how far behind it; 0 for the prompts' own tokens.
        branch: long [B, T], which of several texts behind a prompt a slot is of, none of which sees another; `PROMPT`
            for what all of them see, `PADDING`.
        row: long [B, T], whose prompt a slot belongs to; None where every sequence has one.

    Attributes:
        valid: bool [B, T], the slots that are no padding.
        positions: long [A, B, T].
        order: long [B, T]; like positions, 0 in padding.
    """

    def __init__(
        self,
        prompts: Sequence[EncodedPrompt],
        source: torch.Tensor,
        behind: torch.Tensor,
        branch: torch.Tensor,
        row: torch.Tensor | None = None,
    ) -> None:
        self.prompts = prompts
        self._source, self._behind, self._branch, self._row = source, behind, branch, row
        self.valid = branch != PADDING
        # A prompt without images may have one axis where others have 3.
        axes = max(len(prompt.positions) for prompt in prompts)
        self.positions = self._spread(torch.cat([prompt.positions.expand(axes, -1) for prompt in prompts], 1))
        self.order = self._spread(torch.cat([prompt.order for prompt in prompts]))

    def _spread(self, numbers: torch.Tensor) -> torch.Tensor:
        return (numbers[..., self._source] + self._behind).masked_fill_(~self.valid, 0)

    def _gathered(self, texts: Sequence[torch.Tensor], index: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, T, H], zero in padding, of those of all prompts and behind them texts' [N, H]."""
        parts = [*(prompt.embeds for prompt in self.prompts), *texts]
        nothing = parts[0].new_zeros(1, parts[0].shape[1])
        return torch.cat([*parts, nothing])[index.masked_fill(~self.valid, sum(map(len, parts)))]

    def is_image(self) -> torch.Tensor:
        """Bool [B, T], the slots that hold image features."""
        is_image = to_device(torch.cat([prompt.is_image for prompt in self.prompts]), self.valid.device)
        return is_image[self._source] & (self._behind == 0) & self.valid

    def seen(self, kind: str, window: int | None) -> Seen:
        """What is seen in layers of a kind: causally the prompt and the slot's own branch, in a window of tokens of the
        original sequence; within a prompt, what its own mask says where it has one. Padding sees itself too, or its
        softmax would be no number.

        Args:
            window: None where it is unbounded.
        """
        branch, row, order, own = self._branch, self._row, self.order, self._own(kind)

        def seen(b: torch.Tensor, _head: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            of_query, of_key = branch[b, q], branch[b, k]
            visible = ((of_key == PROMPT) | (of_query == of_key)) & (q >= k)
            if window is not None:
                visible = visible & (order[b, q] - order[b, k] < window)
            if own is not None:
                masks, place = own
                in_prompt = (place[b, q] >= 0) & (place[b, k] >= 0)
                number = b if row is None else row[b, q].clamp(min=0)
                visible = torch.where(
                    in_prompt, masks[number, place[b, q].clamp(min=0), place[b, k].clamp(min=0)], visible
                )
            return visible if row is None else visible & (row[b, q] == row[b, k])

        return seen

    def masks(self, kinds: Mapping[str, int | None], queries_from: int = 0) -> dict[str, torch.Tensor]:
        """What each slot sees in each kind of layer, bool [B, T - queries_from, T].

        Args:
            kinds: window of each kind of layer, None where it is unbounded.
            queries_from: leave out the rows of the slots before.
        """
        sequences, size = self.valid.shape
        b = torch.arange(sequences, device=self.valid.device)[:, None, None]
        slot = torch.arange(size, device=self.valid.device)
        return {kind: self.seen(kind, window)(b, b, slot[queries_from:, None], slot) for kind, window in kinds.items()}

    def _own(self, kind: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The prompts' own masks in a kind of layer, bool [R, S, S], and each slot's place [B, T] in its prompt's, -1
        for slots of none; None where all are causal."""
        given = [prompt.allowed_in(kind) for prompt in self.prompts]
        if all(mask is None for mask in given):
            return None
        size, device = max(len(prompt.embeds) for prompt in self.prompts), self.valid.device
        masks = torch.zeros(len(given), size, size, dtype=torch.bool, device=device)
        places = []
        for number, (prompt, mask) in enumerate(zip(self.prompts, given, strict=True)):
            length = len(prompt.embeds)
            places.append(np.arange(length) if mask is not None else np.full(length, -1))
            if mask is not None:
                masks[number, :length, :length] = mask
        place = to_device(torch.from_numpy(np.concatenate(places)), device)[self._source]
        return masks, place.masked_fill(~self.valid | (self._behind > 0), -1)


class Layout(Slots):
    """Prompts, each with a text that follows it, padded on the right.

    Args:
        text_lengths: tokens of the text behind each prompt.
    """

    def __init__(self, prompts: Sequence[EncodedPrompt], text_lengths: Sequence[int]) -> None:
        device, sizes = prompts[0].embeds.device, [len(prompt.embeds) for prompt in prompts]
        lengths = [size + text for size, text in zip(sizes, text_lengths, strict=True)]
        begins = [*accumulate(sizes, initial=0)]
        begin, size, length = on_device([begins[:-1], sizes, lengths], device)[:, :, None]
        slot = torch.arange(max(lengths), device=device)
        behind = (slot - size + 1).clamp(min=0)
        branch = torch.where(slot < length, PROMPT, PADDING)
        super().__init__(prompts, begin + torch.minimum(slot, size - 1), behind, branch)

    def embeds(self, texts: torch.Tensor | None) -> torch.Tensor:
        """Embeddings [G, T, H], those of texts [G, L, H] behind the prompts; zero in padding."""
        if texts is None:
            return self._gathered([], self._source)
        rows, longest = texts.shape[:2]
        first = sum(len(prompt.embeds) for prompt in self.prompts)
        row = torch.arange(rows, device=texts.device)[:, None]
        index = torch.where(self._behind > 0, first + row * longest + self._behind - 1, self._source)
        return self._gathered([texts.flatten(0, 1).to(self.prompts[0].embeds.dtype)], index)
