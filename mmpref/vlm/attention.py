"""Running a decoder under explicit masks: a prefill of whole prompts, then one token at a time for many rows.

Masks are written out here, by order in the original sequence, because what transformers would make of a dropped
sequence is wrong in three ways: positions with gaps and no mask are taken for packed sequences, a 2-D mask renumbers
positions, and sliding windows count slots. A window or a bidirectional block therefore sees what it would have seen
had the hidden tokens been masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from mmpref.vlm.forest import Forest
from mmpref.vlm.kernels import BLOCK, Choice, Place, block_masks, choose, take_over
from mmpref.vlm.layout import Layout, Slots
from mmpref.vlm.row_cache import Prefilled, RowCache
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt
    from mmpref.vlm.policy import Policy

PREFILL_TOKENS = 4096
"""Tokens, padding included, that are prefilled together."""

FULL, SLIDING = "full_attention", "sliding_attention"


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

    def step_inputs(self, cache: RowCache, empty: int, dtype: torch.dtype) -> tuple[torch.Tensor, Any]:
        """What a step takes beside embeddings, for every row of the cache and some that hold nothing: position ids,
        and what each row sees of all slots of the cache's buffers, as the decoder takes them."""
        positions, distance = cache.advance(0, [1] * cache.rows, empty)
        return _position_ids(positions), self._as_4d(self._seen(distance), dtype)

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
        return self._call(embeds, positions, self._as_4d(self._seen(distance), embeds.dtype), cache.layers)

    def _seen(self, distance: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is seen in each kind of layer, given how far each slot lies before each token."""
        return {
            kind: distance >= 0 if window is None else (distance >= 0) & (distance < window)
            for kind, window in self.kinds.items()
        }

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
            position_ids=_position_ids(positions),
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


def _position_ids(positions: torch.Tensor) -> torch.Tensor:
    """Positions [A, B, T] as decoders take them: [B, T] where there is one axis."""
    return positions if len(positions) > 1 else positions[0]


def _by_kind(masks: dict[str, Any]) -> Any:
    """Masks as decoders take them: a dictionary where layers are of several kinds."""
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _deepstack(slots: Slots) -> dict[str, Any]:
    """Qwen3-VL adds visual features to the hidden states of early layers too, at the image's rows."""
    features = [prompt.deepstack for prompt in slots.prompts if prompt.deepstack]  # a prompt without images has none
    if not features:
        return {}
    layers = zip(*features, strict=True)
    return {"visual_pos_masks": slots.is_image(), "deepstack_visual_embeds": [torch.cat(layer) for layer in layers]}
