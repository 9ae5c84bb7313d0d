"""Choosing next tokens: greedy or sampled, each branch by its own random stream and its own history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mmpref.errors import UsageError
from mmpref.rng import stream

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. None means: as the model's ``generation_config`` says, else off.

    Args:
        max_new_tokens: per branch.
        greedy: take the most probable token; otherwise sample.
        temperature, top_p, top_k: of sampling.
        repetition_penalty: over the text tokens of prompt and answer, greedy or not.
        seed: of the random streams.

    Raises:
        UsageError: a value that no text can be written with.
    """

    max_new_tokens: int = 128
    greedy: bool = True
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "max_new_tokens": self.max_new_tokens < 1 and "at least 1",
            "temperature": self.temperature is not None and not self.temperature > 0 and "above 0",
            "top_p": self.top_p is not None and not 0 < self.top_p <= 1 and "above 0 and at most 1",
            "top_k": self.top_k is not None and self.top_k < 0 and "at least 0, which is off",
            "repetition_penalty": (
                self.repetition_penalty is not None and not self.repetition_penalty > 0 and "above 0"
            ),
        }
        for name, must_be in wrong.items():
            if must_be:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be {must_be}.")


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
        self._decoding = decoding
        self._forbidden = torch.tensor(sorted(policy.never_written), device=policy.device)
        defaults = policy.base_model.generation_config
        self._penalty = decoding.repetition_penalty or defaults.repetition_penalty or 1.0
        self._warpers = LogitsProcessorList()
        temperature = defaults.temperature if decoding.temperature is None else decoding.temperature
        top_k = defaults.top_k if decoding.top_k is None else decoding.top_k
        top_p = defaults.top_p if decoding.top_p is None else decoding.top_p
        if not decoding.greedy:
            if temperature is not None and not temperature > 0:
                raise UsageError(f"The model's generation_config has the temperature {temperature}.",
                                 "Name one above 0.")  # fmt: skip
            if temperature not in (None, 1.0):
                self._warpers.append(TemperatureLogitsWarper(float(temperature)))
            if top_k:
                self._warpers.append(TopKLogitsWarper(top_k))
            if top_p is not None and top_p < 1:
                self._warpers.append(TopPLogitsWarper(top_p))

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
