"""What BDHS can be told, apart from BDHS itself: reading and checking settings loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mmpref.errors import UsageError
from mmpref.sampling.settings import SamplingSettings


@dataclass(frozen=True)
class BdhsSettings(SamplingSettings):
    """Parameters of algorithm 1, with the paper's values.

    Args:
        rho_th: an image token is kept where u >= rho_th, u ~ U(0, 1), drawn anew for every try; 0 keeps all, 1 none.
        iterations: N_BDHS, tries a pair. With more than one, the last try is unguided and always taken.
        guidance: continue the reference's sentences; without it every try writes a whole answer.
        noise_steps: the noise variant: show the image after so many of 1000 diffusion steps instead of masking.
        positions: ``original`` keeps the positions of what is left (masking, exactly); ``compact`` renumbers.
        similarity_threshold: eps_s, a try is taken where the cosine of both answers is below it.
        similarity_model: a sentence-transformers model.
        max_tail_tokens: bound on one sentence's tail.
        max_answer_tokens: bound on an unguided answer.
        keep_cut_off: take answers that one of these bounds cut off; else their rows are skipped, and counted.
        greedy: take the most probable token always, where the paper samples.
        batch_size: branches decoded together.
    """

    rho_th: float = 0.99
    iterations: int = 5
    guidance: bool = True
    noise_steps: int | None = None
    positions: Literal["original", "compact"] = "original"
    similarity_threshold: float = 0.97
    similarity_model: str = "sentence-transformers/all-mpnet-base-v2"
    max_tail_tokens: int = 96
    max_answer_tokens: int = 512
    keep_cut_off: bool = False
    greedy: bool = False
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rho_th <= 1:
            raise UsageError(f"rho_th is {self.rho_th}; it must lie between 0 and 1.")
        if math.isnan(self.similarity_threshold):
            raise UsageError("similarity_threshold is not a number.", "The paper's is 0.97.")
        for name in ("iterations", "max_tail_tokens", "max_answer_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.noise_steps is not None and not 0 <= self.noise_steps <= 1000:
            raise UsageError(f"noise_steps is {self.noise_steps}; it must lie between 0 and 1000.")
