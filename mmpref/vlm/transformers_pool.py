"""Decoding by transformers' own `generate`, for decoders whose prefix cannot be shared: slower, and the same tokens.

Every branch is prefilled on its own, from embeddings and positions, with padding on the left.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from mmpref.vlm.decoding import Decoding
from mmpref.vlm.sampler import Chooser, Written

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared_prefix_pool import Branch


class PortablePool:
    """As `mmpref.vlm.shared_prefix_pool.Pool`, but a batch is decoded to its end before the next one begins."""

    def __init__(self, policy: Policy, decoding: Decoding, width: int = 64) -> None:
        self._policy, self._decoding, self._width = policy, decoding, width
        self._queue: deque[tuple[int, Branch]] = deque()
        self._added = 0

    @property
    def idle(self) -> bool:
        return not self._queue

    @property
    def hungry(self) -> bool:
        return not self._queue

    def add(self, branches: Sequence[Branch]) -> range:
        numbers = range(self._added, self._added + len(branches))
        self._added += len(branches)
        self._queue.extend(zip(numbers, branches, strict=True))
        return numbers

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(self._width, len(self._queue)))]
            tokens = _generate(self._policy, [branch for _, branch in batch], self._decoding)
            yield from zip((number for number, _ in batch), tokens, strict=True)


@torch.inference_mode()
def _generate(policy: Policy, branches: Sequence[Branch], decoding: Decoding) -> list[list[int]]:
    embeds, mask, positions = _left_padded(policy, branches)
    choose = _Choose(policy, branches, decoding)
    with _undisturbed(policy.base_model):
        policy.base_model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions if len(positions) > 1 else positions[0],
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([choose]),
            stopping_criteria=StoppingCriteriaList([_Ended(choose)]),
        )
    return [written.tokens for written in choose.written]


def only_tokens(own: GenerationConfig) -> GenerationConfig:
    """Of a model's ``generation_config`` the ids of its special tokens alone: `generate` would take whatever else
    stands there (beams, forbidden repetitions, other warpers), even beside settings of the caller's."""
    return GenerationConfig(**{name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")})


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    own = model.generation_config
    model.generation_config = only_tokens(own)
    try:
        yield
    finally:
        model.generation_config = own


class _Choose(LogitsProcessor):
    """Takes the choice out of `generate`'s hands: leaves only the token that the branch's own stream picks."""

    def __init__(self, policy: Policy, branches: Sequence[Branch], decoding: Decoding) -> None:
        self._policy, self._choose = policy, Chooser(policy, decoding)
        self._stops = [branch.stop for branch in branches]
        self.written = [Written((*branch.context.text, *branch.prefix), branch.stream) for branch in branches]
        self.ended = [False] * len(branches)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        alive = [row for row, ended in enumerate(self.ended) if not ended]
        chosen = torch.zeros(len(scores), dtype=torch.long)
        if alive:
            picked = self._choose(scores[alive].float(), [self.written[row] for row in alive])
            chosen[torch.tensor(alive)] = torch.tensor(picked)
        for row in alive:
            self._grow(row, int(chosen[row]))
        only = torch.full_like(scores, -torch.inf)
        only[torch.arange(len(scores)), chosen] = 0
        return only

    def _grow(self, row: int, token: int) -> None:
        tokens, stop = self.written[row].tokens, self._stops[row]
        if token in self._policy.eos_ids:
            self.ended[row] = True
            return
        tokens.append(token)
        kept = stop(tokens) if stop else None
        if kept is not None:
            del tokens[kept:]
            self.ended[row] = True


class _Ended(StoppingCriteria):
    def __init__(self, choose: _Choose) -> None:
        self._choose = choose

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor(self._choose.ended, device=input_ids.device)


def _left_padded(policy: Policy, branches: Sequence[Branch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings [B, S, H], mask [B, S] and positions [A, B, S] of contexts and prefixes, padded on the left."""
    size = max(len(branch.context.embeds) + len(branch.prefix) for branch in branches)
    first = branches[0].context
    embeds = first.embeds.new_zeros(len(branches), size, first.embeds.shape[1])
    mask = torch.zeros(len(branches), size, dtype=torch.long, device=policy.device)
    positions = torch.zeros(len(first.positions), len(branches), size, dtype=torch.long, device=policy.device)
    for row, branch in enumerate(branches):
        prompt, written = len(branch.context.embeds), len(branch.prefix)
        begin = size - prompt - written
        embeds[row, begin : begin + prompt] = branch.context.embeds
        if written:
            embeds[row, begin + prompt :] = policy.embed(torch.tensor(branch.prefix, device=policy.device))
        mask[row, begin:] = 1
        positions[:, row, begin : begin + prompt] = branch.context.positions
        last = branch.context.positions[:, -1:]
        positions[:, row, begin + prompt :] = last + torch.arange(1, written + 1, device=policy.device)
    return embeds, mask, positions
