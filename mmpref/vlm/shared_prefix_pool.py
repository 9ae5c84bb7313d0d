"""Decoding of many branches in one pool.

Branches that continue the same context share one prefill of it, and of the longest prefix among them. Branches of many
contexts fill the rows of one pool; a row whose branch has ended is filled again from the queue. A branch's tokens do
not depend on the pool that it is decoded in: every row attends to its own slots, has its own positions, and draws from
its own random stream (in floating point a batch may still change the last bits of a sum).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpref.vlm.attention import Attention, RowCache
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import Context
from mmpref.vlm.sampler import Chooser, Written
from mmpref.vlm.transformers_pool import PortablePool

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

__all__ = ["Branch", "Decoding", "Pool", "StopRule", "decode", "pool_of"]

StopRule = Callable[[list[int]], "int | None"]
"""Given the tokens generated so far, how many of them to keep if the branch ends here, else None."""

ROW_SLOTS = 512
"""Tokens a row that the memory of a pool is planned for; contexts far longer than that get fewer rows."""

ROWS = 32
"""Rows that memory is planned for at least, however narrow the pool: long contexts with little text behind them."""

PREFILL_TOKENS = 4096
"""Tokens, padding included, that are prefilled together."""


@dataclass(frozen=True)
class Branch:
    """One continuation to decode.

    Args:
        context: the prompt at the decoder's door; branches with the same object share its prefill.
        prefix: token ids already written of the answer.
        stream: names of its random stream, after the seed.
        stop: its stop rule beside the end-of-sequence token.
    """

    context: Context
    prefix: tuple[int, ...] = ()
    stream: tuple[str | int, ...] = ()
    stop: StopRule | None = None


def decode(
    policy: Policy,
    branches: Sequence[Branch],
    decoding: Decoding,
    *,
    width: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Decode every branch; the token ids that each one generated, without the end-of-sequence token, in order.

    Args:
        width: branches decoded together, at most.
        progress: told of every branch that has ended.
    """
    pool = pool_of(policy, decoding, width)
    pool.add(branches)
    results: list[list[int]] = [[] for _ in branches]
    for number, tokens in pool:
        results[number] = tokens
        if progress:
            progress(1)
    return results


def pool_of(policy: Policy, decoding: Decoding, width: int = 64) -> Pool | PortablePool:
    """The pool that decodes for this policy: sharing prefixes, unless its family cannot."""
    return Pool(policy, decoding, width) if policy.family.shares_prefix else PortablePool(policy, decoding, width)


@dataclass
class _Row:
    """A branch in work, and what it has written."""

    number: int
    branch: Branch
    written: Written


class Pool:
    """Branches in work and in a queue. Iterating decodes them and yields each as it ends; more may be added meanwhile.

    Args:
        width: rows that are decoded together, at most; fewer where contexts are longer than `ROW_SLOTS`.
    """

    def __init__(self, policy: Policy, decoding: Decoding, width: int = 64) -> None:
        self._policy, self._decoding, self._width = policy, decoding, width
        self._choose = Chooser(policy, decoding)
        self._attention = Attention(policy)
        self._cache = RowCache(policy.device)
        self._queue: deque[list[_Row]] = deque()
        self._rows: list[_Row] = []
        self._next = torch.zeros(0, dtype=torch.long)
        self._added = 0

    @property
    def hungry(self) -> bool:
        """Whether nothing waits and a good part of the rows is empty: the moment to add more."""
        return not self._queue and len(self._rows) <= self._width * 3 // 4

    @property
    def idle(self) -> bool:
        """Whether every branch has ended."""
        return not self._queue and not self._rows

    def add(self, branches: Sequence[Branch]) -> range:
        """Queue branches; the numbers under which they will come out. Those of one context should be added together."""
        numbers = range(self._added, self._added + len(branches))
        self._added += len(branches)
        groups: dict[int, list[_Row]] = {}
        for number, branch in zip(numbers, branches, strict=True):
            groups.setdefault(id(branch.context), []).append(
                _Row(number, branch, Written((*branch.context.text, *branch.prefix), branch.stream))
            )
        for group in groups.values():
            # Rows hold copies of what they share, so a long context is prefilled again for every so many of them.
            size = self._affordable(max(map(_length, group)) + self._decoding.max_new_tokens)
            self._queue.extend(group[start : start + size] for start in range(0, len(group), size))
        return numbers

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        if self._decoding.max_new_tokens < 1:
            while self._queue:
                yield from ((row.number, []) for row in self._queue.popleft())
        while self._queue or self._rows:
            ended = self._admit() if self._queue and self._has_room() else []
            if self._rows:
                ended += self._step()
            yield from ((row.number, row.written.tokens) for row in ended)

    # -- entering -----------------------------------------------------------------------------------------------------

    def _limit(self, group: Sequence[_Row]) -> int:
        """Rows that the pool may hold once this group is in it."""
        longest = max(_length(row) for row in group) + self._decoding.max_new_tokens
        return max(len(group), self._affordable(max(longest, self._cache.longest(len(self._rows)))))

    def _affordable(self, slots: int) -> int:
        """Rows of so many slots, one at least."""
        return max(1, min(self._width, max(self._width, ROWS) * ROW_SLOTS // slots))

    def _has_room(self) -> bool:
        """A prefill is worth its while once a quarter of the rows is free."""
        limit = self._limit(self._queue[0])
        free = limit - len(self._rows)
        return not self._rows or (free >= len(self._queue[0]) and free >= limit // 4)

    @torch.inference_mode()
    def _admit(self) -> list[_Row]:
        """Prefill contexts of the queue's head and give their branches rows; those that end at their first token."""
        groups: list[list[_Row]] = []
        size = rows = 0
        while self._queue:
            group = self._queue[0]
            longest = max(size, max(_length(row) for row in group))
            enough = len(self._rows) + rows + len(group) > self._limit(group) and (self._rows or groups)
            if enough or (groups and longest * (len(groups) + 1) > PREFILL_TOKENS):
                break
            groups.append(self._queue.popleft())
            size, rows = longest, rows + len(group)
        texts = [max((row.branch.prefix for row in group), key=len) for group in groups]
        hidden, filled = self._attention.prefill([group[0].branch.context for group in groups], texts)
        entered = [row for group in groups for row in group]
        sources, lengths, rests = [], [], []
        for number, (group, text) in enumerate(zip(groups, texts, strict=True)):
            for row in group:
                shared = _common(row.branch.prefix, text)
                sources.append(number)
                lengths.append(len(row.branch.context.embeds) + shared)
                rests.append(row.branch.prefix[shared:])
        contexts = [row.branch.context for row in entered]
        first = len(self._rows)
        self._cache.enter(first, filled, sources, lengths, contexts)
        # The last token of the prefix gives the first logits; without a prefix it is the prompt's last.
        last = hidden[torch.tensor(sources), torch.tensor(lengths) - 1]
        for begin, end in _together(list(map(len, rests))):
            own = self._attention.extend(rests[begin:end], self._cache, first + begin)
            for place, rest in enumerate(rests[begin:end]):
                if rest:
                    last[begin + place] = own[place, len(rest) - 1]
        self._rows.extend(entered)
        return self._take(last, first)

    # -- going on -----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _step(self) -> list[_Row]:
        """One more token for every row; the rows that end with it."""
        hidden = self._attention.step(self._policy.embed(self._next.to(self._policy.device)[:, None]), self._cache)
        return self._take(hidden, 0)

    def _take(self, hidden: torch.Tensor, first: int) -> list[_Row]:
        """Choose the next token of the rows from ``first`` on, given their last hidden states [n, H]."""
        rows = self._rows[first:]
        following = self._choose(self._policy.head(hidden).float(), [row.written for row in rows])
        ended = [
            index for index, (row, token) in enumerate(zip(rows, following, strict=True)) if not self._grow(row, token)
        ]
        self._next = torch.cat([self._next[:first], torch.tensor(following, dtype=torch.long)])
        gone = [rows[index] for index in ended]
        self._leave([first + index for index in ended])
        return gone

    def _grow(self, row: _Row, token: int) -> bool:
        """Give a branch its next token; whether it goes on."""
        if token in self._policy.eos_ids:
            return False
        tokens = row.written.tokens
        tokens.append(token)
        kept = row.branch.stop(tokens) if row.branch.stop else None
        if kept is not None:
            del tokens[kept:]
        return kept is None and len(tokens) < self._decoding.max_new_tokens

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


def _together(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows in order whose texts are run together, padding included no more than a prefill; where there is any text."""
    begin = 0
    while begin < len(lengths):
        end, longest = begin + 1, lengths[begin]
        while end < len(lengths) and max(longest, lengths[end]) * (end + 1 - begin) <= PREFILL_TOKENS:
            longest, end = max(longest, lengths[end]), end + 1
        if longest:
            yield begin, end
        begin = end


def _length(row: _Row) -> int:
    return len(row.branch.context.embeds) + len(row.branch.prefix)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
