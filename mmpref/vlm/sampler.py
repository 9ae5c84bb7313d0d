"""Sampling next tokens: greedy or at random, each branch by its own random stream and its own history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mmpref.vlm.branches import BranchState
from mmpref.vlm.decoding import OFF, Decoding, generation_config_values
from mmpref.vlm.transfers import on_device

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class TokenSampler:
    """Next tokens from logits, each row by its own branch's random stream.

    Raises:
        UsageError: `Decoding` asks for the model's own settings, and these cannot be used.
    """

    def __init__(self, policy: Policy, decoding: Decoding) -> None:
        self._decoding = resolved = decoding.resolved(generation_config_values(policy.base_model.generation_config))
        self._suppressed = torch.tensor(sorted(policy.suppressed_ids), device=policy.device)
        self._filler = policy.image_token_id
        self._penalty = float(resolved.repetition_penalty)
        self._warpers = LogitsProcessorList()
        if not resolved.greedy:
            if resolved.temperature != OFF["temperature"]:
                self._warpers.append(TemperatureLogitsWarper(float(resolved.temperature)))
            if resolved.top_k:
                self._warpers.append(TopKLogitsWarper(int(resolved.top_k)))
            if float(resolved.top_p) < OFF["top_p"]:
                self._warpers.append(TopPLogitsWarper(float(resolved.top_p)))

    def __call__(self, logits: torch.Tensor, states: Sequence[BranchState]) -> torch.Tensor:
        """The next token of every branch, long [n], on the device of the logits.

        Args:
            logits: float [n, V], a row for each branch; changed in place.
        """
        logits.index_fill_(1, self._suppressed.to(logits.device), -torch.inf)
        if self._penalty != 1.0:
            self._penalize(logits, [state.history for state in states])
        if self._decoding.greedy:
            return logits.argmax(-1)
        warped = self._warpers(torch.empty(len(states), 0, dtype=torch.long), logits)
        totals = warped.softmax(-1, dtype=torch.float64).cumsum(-1)
        draws = on_device([state.draw(self._decoding.seed) for state in states], totals.device, torch.float64)
        # Inverse of the cumulative distribution; scaling by the last sum keeps rounding from passing the end.
        target = draws[:, None] * totals[:, -1:]
        return torch.searchsorted(totals, target, right=True).clamp(max=totals.shape[-1] - 1)[:, 0]

    def _penalize(self, logits: torch.Tensor, histories: Sequence[Sequence[int]]) -> None:
        """Divide positive logits of what stands in each row's history, and multiply the others."""
        longest = max(map(len, histories))
        # Filled up with a token that is suppressed: nothing changes its logit.
        padded = [[*history, *[self._filler] * (longest - len(history))] for history in histories]
        ids = on_device(padded, logits.device)
        scores = logits.gather(1, ids)
        logits.scatter_(1, ids, torch.where(scores > 0, scores / self._penalty, scores * self._penalty))
