"""Several answers behind one prompt in one sequence, for many prompts: positions and masks of a batch, in vectors.

A row is ``[prompt | padding | tail 0 | tail 1 | ... | padding]``: prompts are padded to the longest, so that the tails
of all rows begin in the same column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from mmpref.vlm.transfers import to_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt

_PROMPT, _BETWEEN, _END = -1, -2, -3
"""What a slot holds that is of no tail: the prompt, padding behind it, padding at the row's end."""


class Forest:
    """The layout of such a batch. It is made on the host, which knows all lengths, and nothing is read from the device.

    Attributes:
        prompt_size: slots of the prompts, padding included.
        size: slots of a row.
    """

    def __init__(self, prompts: Sequence[int], tails: Sequence[Sequence[int]], device: torch.device) -> None:
        """Args:
        prompts: tokens of each row's prompt.
        tails: tokens of each row's tails.
        """
        self.prompt_size = max(prompts)
        self.size = self.prompt_size + max(map(sum, tails))
        layout = np.zeros((2, len(prompts), self.size), dtype=np.int64)
        branch, step = layout
        branch[:] = _END
        for row, (prompt, lengths) in enumerate(zip(prompts, tails, strict=True)):
            branch[row, :prompt] = _PROMPT
            branch[row, prompt : self.prompt_size] = _BETWEEN
            end = self.prompt_size + sum(lengths)
            branch[row, self.prompt_size : end] = np.repeat(np.arange(len(lengths)), lengths)
            step[row, self.prompt_size : end] = np.concatenate([np.arange(length) for length in lengths])
        self._branch, self._step = to_device(torch.from_numpy(layout), device)
        self._prompts = to_device(torch.tensor(list(prompts)), device)[:, None]

    def padded(self, of_prompts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Values [R, size] of every slot from those of the prompts' tokens, zero elsewhere."""
        values = pad_sequence(list(of_prompts), batch_first=True)
        return pad(values, (0, self.size - values.shape[1]))

    def positions(self, of_prompts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Positions [A, R, size]: a tail's go on from the prompt's last one, whichever tail it is.

        Args:
            of_prompts: [A, S] of each prompt.
        """
        last = torch.stack([positions[:, -1] for positions in of_prompts], 1)
        prompts = torch.stack([self.padded(list(axis)) for axis in zip(*of_prompts, strict=True)])
        return torch.where(self._branch >= 0, last[:, :, None] + 1 + self._step, prompts)

    def masks(
        self, kinds: Mapping[str, int | None], prompts: Sequence[EncodedPrompt], queries_from: int = 0
    ) -> dict[str, torch.Tensor]:
        """What each slot sees, bool [R, size - queries_from, size]: the prompt, and what stands before it in its own
        tail; padding sees itself too, or its softmax would be no number.

        Args:
            kinds: window of each kind of layer, None where it is unbounded.
            prompts: some kinds of layers see them otherwise than causally.
            queries_from: leave out the rows of the slots before.
        """
        slot = torch.arange(self.size, device=self._branch.device)
        queries, keys = self._branch[:, queries_from:, None], self._branch[:, None, :]
        visible = ((keys == _PROMPT) | (queries == keys)) & (slot[queries_from:, None] >= slot)
        order = torch.where(self._branch >= 0, self._prompts + self._step, slot * (self._branch == _PROMPT))
        masks = {}
        for kind, window in kinds.items():
            mask = visible
            if window is not None:
                mask = visible & (order[:, queries_from:, None] - order[:, None, :] < window)
            for row, prompt in enumerate(prompts):
                if (own := prompt.allowed_in(kind)) is not None:
                    mask = mask.clone() if mask is visible else mask
                    mask[row, : max(0, len(own) - queries_from), : len(own)] = own[queries_from:]
            masks[kind] = mask
        return masks
