"""Decoding of many branches in one pool.

Branches that continue the same prompt share one prefill of it, and of the longest prefix among them. Branches of many
prompts fill the rows of one pool; a row whose branch has ended is filled again from the queue. A branch's tokens do
not depend on the pool that it is decoded in: every row attends to its own slots, has its own positions, and draws from
its own random stream (in floating point a batch may still change the last bits of a sum).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from mmpref.vlm.attention import PREFILL_TOKENS, Attention
from mmpref.vlm.branches import BranchState, DecodingPool
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.row_cache import Buckets, RowCache
from mmpref.vlm.sampler import TokenSampler
from mmpref.vlm.static_step import static_step
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

ROW_SLOTS = 512
"""Tokens a row that the memory of a pool is planned for; prompts far longer than that get fewer rows."""

ROWS = 32
"""Rows that memory is planned for at least, however narrow the pool: long prompts with little text behind them."""


class SharedPrefixPool(DecodingPool):
    """A pool whose branches share the prefill of what they have in common.

    Args:
        width: rows that are decoded together, at most; fewer where prompts are longer than `ROW_SLOTS`, or than the
            policy's ``pool_tokens`` allow.
    """

    def __init__(self, policy: Policy, decoding: Decoding, width: int = 64) -> None:
        super().__init__(policy, decoding, width)
        self._sample = TokenSampler(policy, decoding)
        self._attention = Attention(policy)
        self._static = static_step(policy, self._attention)
        self._cache = RowCache(policy.device, Buckets(width) if self._static else None)
        self._queue: deque[list[BranchState]] = deque()
        self._rows: list[BranchState] = []
        self._next = torch.zeros(0, dtype=torch.long, device=policy.device)

    @property
    def has_free_rows(self) -> bool:
        return not self._queue and len(self._rows) <= self._width * 3 // 4

    @property
    def finished(self) -> bool:
        return not self._queue and not self._rows

    def _enqueue(self, states: Sequence[BranchState]) -> None:
        groups: dict[int, list[BranchState]] = {}
        for state in states:
            groups.setdefault(id(state.branch.prompt), []).append(state)
        for group in groups.values():
            # Rows hold copies of what they share, so a long prompt is prefilled again for every so many of them.
            size = self._affordable(_longest(group) + self._decoding.max_new_tokens)
            self._queue.extend(group[start : start + size] for start in range(0, len(group), size))

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        while self._queue or self._rows:
            ended = self._admit() if self._queue and self._can_admit() else []
            if self._rows:
                ended += self._step()
            yield from ((row.number, row.tokens) for row in ended)

    # -- entering -----------------------------------------------------------------------------------------------------

    def _limit(self, group: Sequence[BranchState]) -> int:
        """Rows that the pool may hold once this group is in it."""
        longest = _longest(group) + self._decoding.max_new_tokens
        return max(len(group), self._affordable(max(longest, self._cache.longest(len(self._rows)))))

    def _affordable(self, slots: int) -> int:
        """Rows of so many slots, one at least."""
        slots = self._cache.buckets.slots(slots) if self._cache.buckets else slots
        tokens = self._policy.pool_tokens or max(self._width, ROWS) * ROW_SLOTS
        return max(1, min(self._width, tokens // slots))

    def _can_admit(self) -> bool:
        """A prefill is worth its while once a quarter of the rows is free."""
        limit = self._limit(self._queue[0])
        free = limit - len(self._rows)
        return not self._rows or (free >= len(self._queue[0]) and free >= limit // 4)

    @torch.inference_mode()
    def _admit(self) -> list[BranchState]:
        """Prefill prompts of the queue's head and give their branches rows; those that end at their first token."""
        groups: list[list[BranchState]] = []
        size = rows = 0
        while self._queue:
            group = self._queue[0]
            longest = max(size, _longest(group))
            full = len(self._rows) + rows + len(group) > self._limit(group) and (self._rows or groups)
            if full or (groups and longest * (len(groups) + 1) > PREFILL_TOKENS):
                break
            groups.append(self._queue.popleft())
            size, rows = longest, rows + len(group)
        texts = [max((row.branch.prefix for row in group), key=len) for group in groups]
        hidden, filled = self._attention.prefill([group[0].branch.prompt for group in groups], texts)
        entered = [row for group in groups for row in group]
        sources, lengths, rests = [], [], []
        for number, (group, text) in enumerate(zip(groups, texts, strict=True)):
            for row in group:
                shared = common_length(row.branch.prefix, text)
                sources.append(number)
                lengths.append(len(row.branch.prompt.embeds) + shared)
                rests.append(row.branch.prefix[shared:])
        first = len(self._rows)
        self._cache.enter(first, filled, sources, lengths)
        # The last token of the prefix gives the first logits; without a prefix it is the prompt's last.
        source, length = on_device([sources, lengths], hidden.device)
        last = hidden[source, length - 1]
        for begin, end in _extend_batches(list(map(len, rests))):
            extended = self._attention.extend(rests[begin:end], self._cache, first + begin)
            with_text = [(index, len(rest) - 1) for index, rest in enumerate(rests[begin:end]) if rest]
            row, place = on_device(with_text, last.device).T
            last[begin + row] = extended[row, place]
        self._rows.extend(entered)
        return self._take(last, first)

    # -- going on -----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _step(self) -> list[BranchState]:
        """One more token for every row; the rows that end with it."""
        return self._take(self._run_next(), 0)

    def _run_next(self) -> torch.Tensor:
        """Run every row's last token; hidden states [n, H]. Nothing is read from the device."""
        step = self._static or self._attention.step
        return step(self._policy.embed(self._next[:, None]), self._cache)

    def _take(self, hidden: torch.Tensor, first: int) -> list[BranchState]:
        """Sample the next token of the rows from ``first`` on, given their last hidden states [n, H]."""
        rows = self._rows[first:]
        sampled = self._choose(hidden, rows)
        self._next = torch.cat([self._next[:first], sampled])
        tokens = sampled.tolist()  # the one place where a step waits for the device: stop rules read text
        ended = [index for index, (row, token) in enumerate(zip(rows, tokens, strict=True)) if self._ends(row, token)]
        self._leave([first + index for index in ended])
        return [rows[index] for index in ended]

    def _choose(self, hidden: torch.Tensor, rows: Sequence[BranchState]) -> torch.Tensor:
        """The next token of each row, long [n]. Nothing is read from the device."""
        return self._sample(self._policy.head(hidden).float(), rows).to(self._policy.device)

    def _ends(self, row: BranchState, token: int) -> bool:
        """Give a branch its next token; whether it ends with it."""
        goes_on = row.append(token, self._policy.eos_ids)
        return not goes_on or len(row.tokens) >= self._decoding.max_new_tokens

    def _leave(self, ended: Sequence[int]) -> None:
        """Free rows; the last rows move into the holes, so that the rows in work stay together."""
        for index in sorted(ended, reverse=True):
            last = len(self._rows) - 1
            if index != last:
                self._rows[index] = self._rows[last]
                self._next[index] = self._next[last]
                self._cache.move(last, index)
            self._rows.pop()
        self._next = self._next[: len(self._rows)]
        self._cache.rows = len(self._rows)


def _extend_batches(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows in order whose texts are run together, padding included no more than a prefill; where there is any text."""
    begin = 0
    while begin < len(lengths):
        end, longest = begin + 1, lengths[begin]
        while end < len(lengths) and max(longest, lengths[end]) * (end + 1 - begin) <= PREFILL_TOKENS:
            longest, end = max(longest, lengths[end]), end + 1
        if longest:
            yield begin, end
        begin = end


def _longest(group: Sequence[BranchState]) -> int:
    return max(row.branch.length for row in group)


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many token ids two texts begin with."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
