"""Several answers behind one prompt in one sequence, for many prompts.

Padded, a row is a sequence of its own, ``[prompt | padding | tail 0 | tail 1 | ... | padding]``: prompts are padded to
the longest, so that the tails of all rows begin in the same column. Packed, all rows are one sequence without padding
between them, ``[prompt 0 | its tails | prompt 1 | its tails | ...]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from mmpref.vlm.layout import PADDING, PROMPT, Slots
from mmpref.vlm.transfers import to_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt


class Sequences(NamedTuple):
    """A packed batch as sequences in which every token sees what stands before it, as FlashAttention takes them: each
    prompt, and behind it each of its tails, whose tokens alone are queries there.

    Args:
        keys: long [K], the slots of all sequences' keys, one sequence after the other. (Their queries are all slots.)
        query_starts, key_starts: int32 [N + 1], where each sequence begins.
        longest_query, longest_key: tokens.
    """

    keys: torch.Tensor
    query_starts: torch.Tensor
    key_starts: torch.Tensor
    longest_query: int
    longest_key: int


class Forest(Slots):
    """The layout of such a batch. It is made on the host, which knows all lengths.

    Args:
        tails: tokens of each row's tails.
        packed: whether all rows are one sequence.
        multiple: slots of a packed sequence are filled up to a multiple of this, so that few sizes occur.

    Attributes:
        prompt_size: of a padded batch: slots of the prompts, padding included.
    """

    def __init__(
        self,
        prompts: Sequence[EncodedPrompt],
        tails: Sequence[Sequence[int]],
        *,
        packed: bool = False,
        multiple: int = 1,
    ) -> None:
        sizes, self._tails = [len(prompt.embeds) for prompt in prompts], tails
        lengths = list(map(sum, tails))
        self.prompt_size = max(sizes)
        if packed:
            begins = [*accumulate((size + length for size, length in zip(sizes, lengths, strict=True)), initial=0)]
            self._places = [
                (0, begin, begin + size, begin + size + length)
                for begin, size, length in zip(begins, sizes, lengths, strict=False)
            ]
            shape = 1, -(-begins[-1] // multiple) * multiple
        else:
            self._places = [(row, 0, self.prompt_size, self.prompt_size + n) for row, n in enumerate(lengths)]
            shape = len(prompts), self.prompt_size + max(lengths)
        arrays = np.zeros((5, *shape), dtype=np.int64)
        branch, row, source, behind, index = arrays
        branch[:], row[:] = PADDING, -1
        first, text = 0, sum(sizes)
        for number, (sequence, begin, middle, end) in enumerate(self._places):
            size, length = sizes[number], lengths[number]
            prompt, behind_it = np.s_[sequence, begin : begin + size], np.s_[sequence, middle:end]
            branch[prompt], row[prompt] = PROMPT, number
            source[prompt] = index[prompt] = np.arange(first, first + size)
            branch[behind_it], row[behind_it] = np.repeat(np.arange(len(tails[number])), tails[number]), number
            source[behind_it] = first + size - 1
            behind[behind_it] = np.concatenate([np.arange(tail) + 1 for tail in tails[number]])
            index[behind_it] = np.arange(text, text + length)
            first, text = first + size, text + length
        branch, row, source, behind, self._index = to_device(torch.from_numpy(arrays), prompts[0].embeds.device)
        super().__init__(prompts, source, behind, branch, row if packed else None)

    def embeds(self, tails: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, T, H] from those of all tails [N, H], row by row; zero in padding."""
        return self._gathered([tails], self._index)

    def split(self, hidden: torch.Tensor) -> list[list[torch.Tensor]]:
        """Of values [B, T, ...] of all slots, those [L, ...] of each row's tails."""
        return [
            list(hidden[sequence, middle:end].split(list(tails)))
            for (sequence, _, middle, end), tails in zip(self._places, self._tails, strict=True)
        ]

    def sequences(self) -> Sequences:
        """A packed batch as sequences of its own. It has no padding."""
        queries, keys = [], []
        for (_, begin, middle, _), tails in zip(self._places, self._tails, strict=True):
            prompt = np.arange(begin, middle)
            ends = [*accumulate(tails, initial=middle)][1:]
            queries += [len(prompt), *tails]
            keys += [prompt]
            keys += [np.concatenate([prompt, np.arange(end - n, end)]) for n, end in zip(tails, ends, strict=True)]
        key_sizes, device = list(map(len, keys)), self.valid.device
        starts = torch.tensor([[*accumulate(sizes, initial=0)] for sizes in (queries, key_sizes)], dtype=torch.int32)
        query_starts, key_starts = to_device(starts, device)
        slots = to_device(torch.from_numpy(np.concatenate(keys)), device)
        return Sequences(slots, query_starts, key_starts, max(queries), max(key_sizes))
