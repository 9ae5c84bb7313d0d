"""Choosing next tokens: greedy or sampled, each branch by its own random stream and its own history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mmpref.rng import stream
from mmpref.vlm.decoding import OFF, Decoding, own_values

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.policy import Policy


@dataclass
class Written:
    """What a branch has written so far.

    Args:
        prefix: token ids that were given: of the prompt's text, and of an answer that was begun.
        stream: names of its random stream, after the seed.
        tokens: token ids that were generated.
        draws: its random stream, once it has drawn.
    """

    prefix: tuple[int, ...]
    stream: tuple[str | int, ...]
    tokens: list[int] = field(default_factory=list)
    draws: np.random.Generator | None = None

    def draw(self, seed: int) -> float:
        """The next number of its stream, from [0, 1)."""
        if self.draws is None:
            self.draws = stream(seed, *self.stream, "decode")
        return self.draws.random()


class Chooser:
    """Next tokens from logits, each row by its own branch's random stream."""

    def __init__(self, policy: Policy, decoding: Decoding) -> None:
        self._decoding = chosen = decoding.resolved(own_values(policy.base_model.generation_config))
        self._forbidden = torch.tensor(sorted(policy.never_written), device=policy.device)
        self._penalty = float(chosen.repetition_penalty)
        self._warpers = LogitsProcessorList()
        if not chosen.greedy:
            if chosen.temperature != OFF["temperature"]:
                self._warpers.append(TemperatureLogitsWarper(float(chosen.temperature)))
            if chosen.top_k:
                self._warpers.append(TopKLogitsWarper(int(chosen.top_k)))
            if float(chosen.top_p) < OFF["top_p"]:
                self._warpers.append(TopPLogitsWarper(float(chosen.top_p)))

    def __call__(self, logits: torch.Tensor, branches: Sequence[Written]) -> list[int]:
        """The next token of every branch.

        Args:
            logits: float [n, V]; changed in place.
        """
        logits[:, self._forbidden.to(logits.device)] = -torch.inf
        if self._penalty != 1.0:
            for row, branch in enumerate(branches):
                seen = torch.tensor([*branch.prefix, *branch.tokens], dtype=torch.long, device=logits.device)
                old = logits[row, seen]
                logits[row, seen] = torch.where(old > 0, old / self._penalty, old * self._penalty)
        if self._decoding.greedy:
            return logits.argmax(-1).tolist()
        warped = self._warpers(torch.empty(len(branches), 0, dtype=torch.long), logits)
        totals = warped.softmax(-1, dtype=torch.float64).cumsum(-1)
        draws = torch.tensor([branch.draw(self._decoding.seed) for branch in branches], dtype=torch.float64)
        # Inverse of the cumulative distribution; scaling by the last sum keeps rounding from passing the end.
        target = draws.to(totals.device)[:, None] * totals[:, -1:]
        return torch.searchsorted(totals, target, right=True).clamp(max=totals.shape[-1] - 1)[:, 0].tolist()
