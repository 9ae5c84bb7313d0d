"""What a loss that TRL lacks is made of: log-probabilities of a batch's answers, under policy and reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities [B], each summed over an answer's tokens; those of the policy have gradients.

    Args:
        chosen, rejected: under the policy.
        ref_chosen, ref_rejected: under the reference.
        chosen_tokens, rejected_tokens: [B], lengths of the answers, their end included.
        mismatched: [], the mean log-ratio of policy to reference of answers to other rows, over all processes and
            without a gradient; None where the method does not ask for it (`Method.mismatched`).
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    mismatched: torch.Tensor | None = None

    @property
    def chosen_ratio(self) -> torch.Tensor:
        """Log-ratio of policy to reference of the chosen answers."""
        return self.chosen - self.ref_chosen

    @property
    def rejected_ratio(self) -> torch.Tensor:
        """Log-ratio of policy to reference of the rejected answers."""
        return self.rejected - self.ref_rejected


Pairwise = Callable[[PairLogProbs], "torch.Tensor"]
"""A loss [B] of pairs."""
