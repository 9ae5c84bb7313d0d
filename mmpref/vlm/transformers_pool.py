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

from mmpref.vlm.branches import Branch, BranchState, DecodingPool
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.sampler import TokenSampler
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class TransformersPool(DecodingPool):
    """A pool that decodes a batch to its end before the next one begins."""

    def __init__(self, policy: Policy, decoding: Decoding, width: int = 64) -> None:
        super().__init__(policy, decoding, width)
        self._queue: deque[BranchState] = deque()

    @property
    def finished(self) -> bool:
        return not self._queue

    has_free_rows = finished

    def _enqueue(self, states: Sequence[BranchState]) -> None:
        self._queue.extend(states)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(self._width, len(self._queue)))]
            generate_batch(self._policy, batch, self._decoding)
            yield from ((state.number, state.tokens) for state in batch)


@torch.inference_mode()
def generate_batch(policy: Policy, batch: Sequence[BranchState], decoding: Decoding) -> None:
    """Decode branches together; their tokens come to stand in their states."""
    embeds, mask, positions = _left_padded(policy, [state.branch for state in batch])
    sampling = _Sampling(policy, batch, decoding)
    with _without_generation_settings(policy.base_model):
        policy.base_model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions if len(positions) > 1 else positions[0],
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([sampling]),
            stopping_criteria=StoppingCriteriaList([_Ended(sampling)]),
        )


def only_tokens(own: GenerationConfig) -> GenerationConfig:
    """Of a model's ``generation_config`` the ids of its special tokens alone: `generate` would take whatever else
    stands there (beams, forbidden repetitions, other warpers), even beside settings of the caller's."""
    return GenerationConfig(**{name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")})


@contextlib.contextmanager
def _without_generation_settings(model: Any) -> Iterator[None]:
    own = model.generation_config
    model.generation_config = only_tokens(own)
    try:
        yield
    finally:
        model.generation_config = own


class _Sampling(LogitsProcessor):
    """Takes the choice out of `generate`'s hands: leaves only the token that the branch's own stream picks."""

    def __init__(self, policy: Policy, batch: Sequence[BranchState], decoding: Decoding) -> None:
        self._policy, self._batch, self._sample = policy, batch, TokenSampler(policy, decoding)
        self.ended = [False] * len(batch)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        running = [row for row, ended in enumerate(self.ended) if not ended]
        tokens = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        if running:
            rows = on_device(running, scores.device)
            sampled = self._sample(scores[rows].float(), [self._batch[row] for row in running])
            tokens[rows] = sampled
            for row, token in zip(running, sampled.tolist(), strict=True):
                self.ended[row] = not self._batch[row].append(token, self._policy.eos_ids)
        only = torch.full_like(scores, -torch.inf)
        only.scatter_(1, tokens[:, None], 0)
        return only


class _Ended(StoppingCriteria):
    """Ends the rows whose branches have ended."""

    def __init__(self, sampling: _Sampling) -> None:
        self._sampling = sampling

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor(self._sampling.ended, device=input_ids.device)


def _left_padded(policy: Policy, branches: Sequence[Branch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings [B, S, H], mask [B, S] and positions [A, B, S] of prompts and prefixes, padded on the left."""
    size = max(branch.length for branch in branches)
    first = branches[0].prompt
    embeds = first.embeds.new_zeros(len(branches), size, first.embeds.shape[1])
    mask = torch.zeros(len(branches), size, dtype=torch.long, device=policy.device)
    positions = torch.zeros(len(first.positions), len(branches), size, dtype=torch.long, device=policy.device)
    for row, branch in enumerate(branches):
        prompt, prefix = len(branch.prompt.embeds), len(branch.prefix)
        begin = size - prompt - prefix
        embeds[row, begin : begin + prompt] = branch.prompt.embeds
        if prefix:
            embeds[row, begin + prompt :] = policy.embed(torch.tensor(branch.prefix, device=policy.device))
        mask[row, begin:] = 1
        positions[:, row, begin : begin + prompt] = branch.prompt.positions
        last = branch.prompt.positions[:, -1:]
        positions[:, row, begin + prompt :] = last + torch.arange(1, prefix + 1, device=policy.device)
    return embeds, mask, positions
