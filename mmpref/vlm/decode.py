"""Decoding of many branches in one pool: each branch has its own context, prefix, stop rule and random stream.

A branch's tokens do not depend on the pool it is decoded in: attention is masked to its own slots, positions are its
own, and every draw comes from its own generator (in floating point a batch may still change the last bits of a sum).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from mmpref.rng import stream
from mmpref.vlm.vision import Context

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.policy import Policy

StopRule = Callable[[list[int]], "int | None"]
"""Given the tokens generated so far, how many of them to keep if the branch ends here, else None."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. None means: as the model's ``generation_config`` says, else off.

    Args:
        max_new_tokens: per branch.
        greedy: take the most probable token; otherwise sample.
        temperature, top_p, top_k: of sampling.
        repetition_penalty: over the branch's own text tokens, greedy or not.
        seed: of the random streams.
    """

    max_new_tokens: int = 128
    greedy: bool = True
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Branch:
    """One continuation to decode.

    Args:
        context: the prompt at the decoder's door.
        prefix: token ids already written of the answer.
        stream: names of its random stream, after the seed.
        stop: its stop rule beside the end-of-sequence token.
    """

    context: Context
    prefix: tuple[int, ...] = ()
    stream: tuple[str | int, ...] = ()
    stop: StopRule | None = None

    def __len__(self) -> int:
        return len(self.context.embeds) + len(self.prefix)


def decode(
    policy: Policy,
    branches: Sequence[Branch],
    decoding: Decoding,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Decode every branch; the token ids that each one generated, without the end-of-sequence token, in order."""
    results: list[list[int]] = [[] for _ in branches]
    longest_first = sorted(range(len(branches)), key=lambda index: -len(branches[index]))
    for start in range(0, len(longest_first), batch_size):
        chunk = longest_first[start : start + batch_size]
        for index, tokens in zip(chunk, _decode_pool(policy, [branches[i] for i in chunk], decoding), strict=True):
            results[index] = tokens
        if progress:
            progress(len(chunk))
    return results


@torch.inference_mode()
def _decode_pool(policy: Policy, branches: Sequence[Branch], decoding: Decoding) -> list[list[int]]:
    choose = _Chooser(policy, branches, decoding)
    tokens: list[list[int]] = [[] for _ in branches]
    alive = list(range(len(branches)))
    embeds, mask, positions = _left_pad(policy, branches)
    cache = DynamicCache(config=policy.decoder.config)
    for _ in range(decoding.max_new_tokens):
        # Positions with gaps and no mask would be read as packed sequences: the mask is always passed.
        hidden = policy.decoder(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions if len(positions) > 1 else positions[0],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        chosen = choose(policy.head(hidden[:, -1]).float(), alive, tokens)
        rows = [row for row, token in enumerate(chosen) if _grow(policy, branches, tokens, alive[row], token)]
        if not rows:
            break
        if len(rows) < len(alive):
            cache.batch_select_indices(torch.tensor(rows, device=policy.device))
            mask, positions = mask[rows], positions[:, rows]
            alive = [alive[row] for row in rows]
        latest = torch.tensor([[tokens[index][-1]] for index in alive], device=policy.device)
        embeds = policy.embed(latest)
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        positions = positions[:, :, -1:] + 1
    return tokens


def _grow(policy: Policy, branches: Sequence[Branch], tokens: list[list[int]], index: int, token: int) -> bool:
    """Give a branch its next token; whether it goes on."""
    if token in policy.eos_ids:
        return False
    tokens[index].append(token)
    stop = branches[index].stop
    kept = stop(tokens[index]) if stop else None
    if kept is not None:
        del tokens[index][kept:]
    return kept is None


def _left_pad(policy: Policy, branches: Sequence[Branch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings [B, S, H], mask [B, S] and positions [A, B, S] of contexts and prefixes, padded on the left."""
    size = max(map(len, branches))
    axes, width = len(branches[0].context.positions), branches[0].context.embeds.shape[1]
    embeds = torch.zeros(len(branches), size, width, dtype=branches[0].context.embeds.dtype, device=policy.device)
    mask = torch.zeros(len(branches), size, dtype=torch.long, device=policy.device)
    positions = torch.zeros(axes, len(branches), size, dtype=torch.long, device=policy.device)
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


class _Chooser:
    """Next tokens from logits [B, V], each row by its own branch's random stream."""

    def __init__(self, policy: Policy, branches: Sequence[Branch], decoding: Decoding) -> None:
        self.greedy = decoding.greedy
        self.branches = branches
        self.forbidden = sorted(policy.never_written)
        defaults = policy.base_model.generation_config
        self.penalty = decoding.repetition_penalty or defaults.repetition_penalty or 1.0
        self.warpers = LogitsProcessorList()
        temperature = defaults.temperature if decoding.temperature is None else decoding.temperature
        top_k = defaults.top_k if decoding.top_k is None else decoding.top_k
        top_p = defaults.top_p if decoding.top_p is None else decoding.top_p
        if not decoding.greedy:
            if temperature not in (None, 1.0):
                self.warpers.append(TemperatureLogitsWarper(float(temperature)))
            if top_k:
                self.warpers.append(TopKLogitsWarper(top_k))
            if top_p is not None and top_p < 1:
                self.warpers.append(TopPLogitsWarper(top_p))
            self.generators: list[np.random.Generator] = [
                stream(decoding.seed, *branch.stream, "decode") for branch in branches
            ]

    def __call__(self, logits: torch.Tensor, alive: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[int]:
        logits[:, self.forbidden] = -torch.inf
        if self.penalty != 1.0:
            for row, index in enumerate(alive):
                seen = torch.tensor([*self.branches[index].prefix, *tokens[index]], dtype=torch.long)
                old = logits[row, seen]
                logits[row, seen] = torch.where(old > 0, old / self.penalty, old * self.penalty)
        if self.greedy:
            return logits.argmax(-1).tolist()
        warped = self.warpers(torch.empty(len(alive), 0, dtype=torch.long), logits)
        totals = warped.softmax(-1, dtype=torch.float64).cumsum(-1)
        draws = torch.tensor([self.generators[index].random() for index in alive], dtype=torch.float64)
        # Inverse of the cumulative distribution; scaling by the last sum keeps rounding from passing the end.
        target = draws.to(totals.device)[:, None] * totals[:, -1:]
        return torch.searchsorted(totals, target, right=True).clamp(max=totals.shape[-1] - 1)[:, 0].tolist()
