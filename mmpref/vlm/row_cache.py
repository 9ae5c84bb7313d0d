"""Keys and values of rows that are decoded together, in buffers that rows enter and leave in place."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin

from mmpref.vlm.transfers import on_device

_GROWTH = 32


@dataclass(frozen=True)
class Buckets:
    """The few sizes that a step's shapes are rounded up to.

    Args:
        most_rows: that are ever decoded together.
    """

    most_rows: int

    def rows(self, rows: int) -> int:
        """A power of two, or all there may be."""
        return max(rows, min(self.most_rows, 1 << (rows - 1).bit_length()))

    def slots(self, slots: int) -> int:
        """Four sizes between a power of two and the next, from 64 on: at most a quarter too many."""
        slots = max(slots, 64)
        step = (1 << (slots - 1).bit_length()) // 8
        return -(-slots // step) * step


@dataclass(frozen=True)
class Prefilled:
    """Sequences that were run: their keys and values, and where their slots stood.

    Args:
        cache: of all T slots.
        positions: long [A, G, T].
        order: long [G, T].
    """

    cache: DynamicCache
    positions: torch.Tensor
    order: torch.Tensor


class RowCache:
    """Keys and values of rows of different lengths, in buffers that rows enter and leave in place.

    Args:
        buckets: sizes that the buffers may have; None: whatever is needed.

    Attributes:
        version: another number whenever the buffers have become others.
    """

    def __init__(self, device: torch.device, buckets: Buckets | None = None) -> None:
        self.rows = self.version = 0
        self.buckets = buckets
        self.working = slice(0, 0)
        """The rows that the current step runs."""
        # Layers know this object weakly: a cycle would keep their buffers until some later garbage collection.
        self._new_layer = partial(_RowLayer, weakref.proxy(self))
        self.layers = Cache(layer_class_to_replicate=self._new_layer)
        self.lengths: list[int] = []
        self.slots = torch.zeros(0, 1, dtype=torch.long, device=device)
        """The slots [n, T] that the current step writes, of its rows."""
        self.size = 0
        """Slots that the current step reads."""
        self._device = device
        self._filled = torch.zeros(0, dtype=torch.long, device=device)
        """`lengths`, on the device."""
        self._order = torch.zeros(0, 0, dtype=torch.long, device=device)
        self._next_order = torch.zeros(0, dtype=torch.long, device=device)
        self._next_position = torch.zeros(1, 0, dtype=torch.long, device=device)

    def longest(self, rows: int) -> int:
        """Slots that the longest of the first rows has filled."""
        return max(self.lengths[:rows], default=0)

    def enter(self, first: int, filled: Prefilled, sources: Sequence[int], lengths: Sequence[int]) -> None:
        """Give rows from ``first`` on the first slots of prefilled sequences.

        Args:
            sources: which sequence of ``filled``, of each new row.
            lengths: how many of its slots.
        """
        self.rows, longest = first + len(sources), max(lengths)
        # Text alone stands at the same place on every axis: rows in work may have one where those that enter have 3.
        axes = max(len(filled.positions), len(self._next_position))
        self._next_position = self._next_position.expand(axes, -1).clone()
        self._reserve(self.rows, longest + 1)
        self.lengths[first:] = lengths
        source, length = on_device([list(sources), list(lengths)], self._device)
        rows = slice(first, self.rows)
        self._filled[rows] = length
        self._order[rows, :longest] = filled.order[source, :longest]
        self._next_order[rows] = filled.order[source, length - 1] + 1
        self._next_position[:, rows] = filled.positions[:, source, length - 1] + 1
        for number, layer in enumerate(filled.cache.layers):
            while len(self.layers.layers) <= number:
                self.layers.layers.append(self._new_layer())
            source = source.to(layer.keys.device)
            row_layer = self.layers.layers[number]
            row_layer.enter(
                first, layer.keys[source, :, :longest], layer.values[source, :, :longest], self._order.shape
            )

    def advance(self, first: int, counts: Sequence[int], empty: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Make slots for more tokens in some rows.

        Args:
            first: of these rows.
            counts: how many for each of them. What is written behind these is overwritten later and never seen.
            empty: rows behind these that hold nothing and go along, as they are in a step whose shapes are those of
                the buffers; None: shapes are those of the rows.

        Returns:
            Positions [A, n, T] of the new tokens, and how far each slot lies before each new token, [n, T, size] in
            tokens of the original sequence; negative for slots that it does not see.
        """
        steps = torch.arange(max(counts), device=self._device)
        held = slice(first, first + len(counts))
        rows = self.working = slice(first, held.stop + (empty or 0))
        self.size = max(self.lengths[held]) + len(steps)
        self._reserve(max(self.rows, rows.stop), self.size)
        if empty is not None:
            self.size = self._order.shape[1]
            for count in (self._filled, self._next_order, self._next_position):
                count[..., held.stop : rows.stop] = 0  # they write and see their first slot, and nobody looks at them
        added = len(steps) if min(counts) == len(steps) else on_device(counts, self._device)
        self.slots = self._filled[rows, None] + steps
        self.lengths[held] = [length + count for length, count in zip(self.lengths[held], counts, strict=True)]
        order = self._next_order[rows, None] + steps
        positions = self._next_position[:, rows, None] + steps
        self._order[torch.arange(rows.start, rows.stop, device=self._device)[:, None], self.slots] = order
        self._filled[rows] += added
        self._next_order[rows] += added
        self._next_position[:, rows] += added
        distance = order[:, :, None] - self._order[rows, None, : self.size]
        distance.masked_fill_(torch.arange(self.size, device=self._device) > self.slots[:, :, None], -1)
        return positions, distance

    def buffers(self, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values [rows, heads, slots, width] of each layer: all slots of the first rows."""
        return [(layer.keys[:rows], layer.values[:rows]) for layer in self.layers.layers]

    def move(self, source: int, target: int) -> None:
        """Copy a row to where another has left."""
        length = self.lengths[target] = self.lengths[source]
        self._filled[target] = self._filled[source]
        self._order[target] = self._order[source]
        self._next_order[target] = self._next_order[source]
        self._next_position[:, target] = self._next_position[:, source]
        for layer in self.layers.layers:
            layer.move(source, target, length)

    def _reserve(self, rows: int, slots: int) -> None:
        have_rows, have_slots = self._order.shape
        if rows <= have_rows and slots <= have_slots:
            return
        if self.buckets:
            rows, slots = self.buckets.rows(max(rows, have_rows)), self.buckets.slots(max(slots, have_slots))
        else:
            rows, slots = max(rows, have_rows), slots + _GROWTH + slots // 16 if slots > have_slots else have_slots
        self.version += 1
        self._order = _enlarged(self._order, {0: rows, 1: slots})
        self._filled = _enlarged(self._filled, {0: rows})
        self._next_order = _enlarged(self._next_order, {0: rows})
        self._next_position = _enlarged(self._next_position, {1: rows})
        for layer in self.layers.layers:
            layer.reserve(rows, slots)


class _RowLayer(CacheLayerMixin):
    """One decoder layer of a `RowCache`: keys and values [rows, heads, slots, width]."""

    is_sliding = False

    def __init__(self, cache: RowCache) -> None:
        super().__init__()
        self._cache = cache
        self.keys: Any = None
        self.values: Any = None

    def enter(self, first: int, keys: torch.Tensor, values: torch.Tensor, shape: Sequence[int]) -> None:
        if self.keys is None:
            self.keys = keys.new_zeros(shape[0], keys.shape[1], shape[1], keys.shape[3])
            self.values = values.new_zeros(shape[0], values.shape[1], shape[1], values.shape[3])
            self.is_initialized = True
        self.keys[first : first + len(keys), :, : keys.shape[2]] = keys
        self.values[first : first + len(values), :, : values.shape[2]] = values

    def move(self, source: int, target: int, length: int) -> None:
        self.keys[target, :, :length] = self.keys[source, :, :length]
        self.values[target, :, :length] = self.values[source, :, :length]

    def reserve(self, rows: int, slots: int) -> None:
        self.keys, self.values = _enlarged(self.keys, {0: rows, 2: slots}), _enlarged(self.values, {0: rows, 2: slots})

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, size = self._cache.working, self._cache.size
        index = torch.arange(rows.start, rows.stop, device=key_states.device)[:, None]
        slots = self._cache.slots.to(key_states.device)
        self.keys[index, :, slots] = key_states.transpose(1, 2)
        self.values[index, :, slots] = value_states.transpose(1, 2)
        return self.keys[rows, :, :size], self.values[rows, :, :size]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise RuntimeError("rows enter a RowCache after a prefill")

    def get_seq_length(self) -> int:
        return self._cache.size - self._cache.slots.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.size, 0

    def get_max_length(self) -> int:
        return -1


def _enlarged(tensor: torch.Tensor, sizes: dict[int, int]) -> torch.Tensor:
    """A copy of a tensor with larger dimensions, zero where it is new."""
    enlarged = tensor.new_zeros([sizes.get(dimension, size) for dimension, size in enumerate(tensor.shape)])
    enlarged[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return enlarged
