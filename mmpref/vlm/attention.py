"""Running a decoder under explicit masks: a prefill of whole prompts, then one token at a time for many rows.

Masks are written out here, by order in the original sequence, because what transformers would make of a dropped
sequence is wrong in three ways: positions with gaps and no mask are taken for packed sequences, a 2-D mask renumbers
positions, and sliding windows count slots. A window or a bidirectional block therefore sees what it would have seen
had the hidden tokens been masked.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin

from mmpref.vlm.forest import Forest
from mmpref.vlm.kernels import BLOCK, Choice, Place, block_masks, choose, take_over
from mmpref.vlm.layout import Layout, Slots
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy

PREFILL_TOKENS = 4096
"""Tokens, padding included, that are prefilled together."""

FULL, SLIDING = "full_attention", "sliding_attention"
_GROWTH = 32


def kinds_of_layers(config: Any) -> dict[str, int | None]:
    """Window (None: unbounded) of each kind of attention that a decoder's configuration names."""
    window = getattr(config, "sliding_window", None)
    types = set(getattr(config, "layer_types", None) or [SLIDING if window else FULL])
    return {kind: window if kind == SLIDING else None for kind in sorted(types)}


class Attention:
    """A policy's decoder, called with masks for each kind of its layers."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.kinds = kinds_of_layers(policy.decoder.config)
        """Window (None: unbounded) of each kind of layer."""
        self._config = policy.decoder.config

    def _is_plain(self, prompts: Sequence[EncodedPrompt]) -> bool:
        """Whether prompts see themselves causally in all layers, however far back."""
        return list(self.kinds) == [FULL] and not any(prompt.allowed for prompt in prompts)

    def prefill(
        self, prompts: Sequence[EncodedPrompt], texts: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, Prefilled]:
        """Run prompts, each with text that follows it, padded on the right.

        Returns:
            Last hidden states [G, T, H], and the keys and values of all T slots.
        """
        layout = Layout(prompts, [len(text) for text in texts])
        embeds = layout.embeds(self._text_embeds(texts))
        cache = DynamicCache()
        if self._is_plain(prompts):
            # Padding stands on the right, where nothing sees it, and a mask of ones (never None, which would mean
            # packed sequences where positions have gaps) leaves the attention kernel its fast path.
            masks: Any = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        else:
            masks = self._masks(layout, self._choose(True, 0))  # masks of a prefill are small
        hidden = self._call(embeds, layout.positions, masks, cache, **_deepstack(layout))
        return hidden, Prefilled(cache, layout.positions, layout.order)

    def _text_embeds(self, texts: Sequence[Sequence[int]]) -> torch.Tensor | None:
        """Embeddings [G, L, H] of texts, padded on the right; None where there is no text."""
        longest = max(map(len, texts))
        if not longest:
            return None
        return self._policy.embed(
            on_device([[*text, *[0] * (longest - len(text))] for text in texts], self._policy.device)
        )

    def choose(self, prompts: Sequence[EncodedPrompt], tails: Sequence[Sequence[int]]) -> Choice:
        """The kernel for prompts and tails behind them.

        Args:
            tails: tokens of each row's tails.
        """
        prompt, behind = max(len(prompt.embeds) for prompt in prompts), max(map(sum, tails))
        queries = behind if self._is_plain(prompts) else prompt + behind
        cells = len(self.kinds) * len(prompts) * queries * (prompt + behind)
        return self._choose(any(prompt.allowed for prompt in prompts), cells)

    def _choose(self, needs_mask: bool, cells: int) -> Choice:
        return choose(self._policy.attn, Place.of(self._policy), needs_mask=needs_mask, cells=cells)

    def run_forest(
        self, prompts: Sequence[EncodedPrompt], tails: Sequence[Sequence[torch.Tensor]], choice: Choice
    ) -> list[list[torch.Tensor]]:
        """Run tails behind each prompt, none of which sees another, and keep nothing for later.

        Args:
            tails: token ids of each row.

        Returns:
            Last hidden states [L, H] of each row's tails.
        """
        sizes, packed = [[len(tail) for tail in of_row] for of_row in tails], choice.kernel in ("flash", "flex")
        forest = Forest(prompts, sizes, packed=packed, multiple=BLOCK if choice.kernel == "flex" else 1)
        embeds = forest.embeds(self._policy.embed(torch.cat([tail for of_row in tails for tail in of_row])))
        extra = _deepstack(forest)
        if choice.kernel == "flash":
            take_over(self._config)
            extra["sequences"] = forest.sequences()
            # Nobody looks at it; without one of four dimensions, transformers makes one.
            masks = _by_kind(dict.fromkeys(self.kinds, torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embeds.device)))
        else:
            masks = self._masks(forest, choice, causal_until=forest.prompt_size if self._is_plain(prompts) else 0)
        return forest.split(self._call(embeds, forest.positions, masks, None, **extra))

    def step(self, embeds: torch.Tensor, cache: RowCache) -> torch.Tensor:
        """Run one token [n, 1, H] for every row of the cache; last hidden states [n, H]."""
        return self._extend_rows(embeds, cache, 0, [1] * cache.rows)[:, -1]

    def extend(self, texts: Sequence[Sequence[int]], cache: RowCache, first: int) -> torch.Tensor:
        """Run text of different lengths, none perhaps, for as many rows of the cache from ``first`` on, in one go.

        Returns:
            Hidden states [n, T, H]; those behind a row's own text mean nothing.
        """
        embeds = self._text_embeds(texts)
        assert embeds is not None
        return self._extend_rows(embeds, cache, first, [len(text) for text in texts])

    def _extend_rows(self, embeds: torch.Tensor, cache: RowCache, first: int, counts: Sequence[int]) -> torch.Tensor:
        positions, distance = cache.advance(first, counts)
        masks = {
            kind: distance >= 0 if window is None else (distance >= 0) & (distance < window)
            for kind, window in self.kinds.items()
        }
        return self._call(embeds, positions, self._as_4d(masks, embeds.dtype), cache.layers)

    def _masks(self, slots: Slots, choice: Choice, causal_until: int = 0) -> Any:
        """What slots see, as the decoder takes it.

        Args:
            causal_until: the slots before are causal among themselves, for which sdpa needs no mask.
        """
        if choice.kernel == "flex":
            take_over(self._config)
            return _by_kind(block_masks(slots, self.kinds))
        if choice.kernel == "eager" or not causal_until:
            return self._as_4d(slots.masks(self.kinds), slots.prompts[0].embeds.dtype)
        take_over(self._config)
        return self._as_4d(slots.masks(self.kinds, causal_until), slots.prompts[0].embeds.dtype)

    def _call(self, embeds: torch.Tensor, positions: torch.Tensor, mask: Any, cache: Any, **extra: Any) -> torch.Tensor:
        hidden: torch.Tensor = self._policy.decoder(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions if len(positions) > 1 else positions[0],
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        ).last_hidden_state
        return hidden

    def _as_4d(self, masks: dict[str, torch.Tensor], dtype: torch.dtype) -> Any:
        """Masks [B, Q, K] as decoders take them: [B, 1, Q, K], a dictionary where layers are of several kinds."""
        masks_4d = {kind: mask[:, None] for kind, mask in masks.items()}
        if self._config._attn_implementation == "eager":
            least = torch.finfo(dtype).min
            masks_4d = {
                kind: torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, least)
                for kind, mask in masks_4d.items()
            }
        return _by_kind(masks_4d)


def _by_kind(masks: dict[str, Any]) -> Any:
    """Masks as decoders take them: a dictionary where layers are of several kinds."""
    return masks if len(masks) > 1 else next(iter(masks.values()))


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


def _deepstack(slots: Slots) -> dict[str, Any]:
    """Qwen3-VL adds visual features to the hidden states of early layers too, at the image's rows."""
    features = [prompt.deepstack for prompt in slots.prompts if prompt.deepstack]  # a prompt without images has none
    if not features:
        return {}
    layers = zip(*features, strict=True)
    return {"visual_pos_masks": slots.is_image(), "deepstack_visual_embeds": [torch.cat(layer) for layer in layers]}


class RowCache:
    """Keys and values of rows of different lengths, in buffers that rows enter and leave in place."""

    def __init__(self, device: torch.device) -> None:
        self.rows = 0
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

    def advance(self, first: int, counts: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Make slots for more tokens in some rows.

        Args:
            first: of these rows.
            counts: how many for each of them. What is written behind these is overwritten later and never seen.

        Returns:
            Positions [A, n, T] of the new tokens, and how far each slot lies before each new token, [n, T, size] in
            tokens of the original sequence; negative for slots that it does not see.
        """
        steps = torch.arange(max(counts), device=self._device)
        rows = self.working = slice(first, first + len(counts))
        self.size = max(self.lengths[rows]) + len(steps)
        self._reserve(self.rows, self.size)
        added = len(steps) if min(counts) == len(steps) else on_device(counts, self._device)
        self.slots = self._filled[rows, None] + steps
        self.lengths[rows] = [length + count for length, count in zip(self.lengths[rows], counts, strict=True)]
        order = self._next_order[rows, None] + steps
        positions = self._next_position[:, rows, None] + steps
        self._order[torch.arange(rows.start, rows.stop, device=self._device)[:, None], self.slots] = order
        self._filled[rows] += added
        self._next_order[rows] += added
        self._next_position[:, rows] += added
        distance = order[:, :, None] - self._order[rows, None, : self.size]
        distance.masked_fill_(torch.arange(self.size, device=self._device) > self.slots[:, :, None], -1)
        return positions, distance

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
        rows, slots = max(rows, have_rows), slots + _GROWTH + slots // 16 if slots > have_slots else have_slots
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
