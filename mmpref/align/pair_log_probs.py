"""What a loss that TRL lacks is made of: log-probabilities of a batch's answers, under policy and reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PairTokens:
    """The same by token, [2B, T], chosen answers before rejected ones, each from its first token on; 0 behind its end.

    Args:
        log_probs, reference: under policy and reference.
        ids: of the tokens.
        mask: bool, where they are.
        weights: as the data give them (`mmpref.align.weights`), 1 where they say nothing.
        kl: KL(reference || policy) in nats over the whole vocabulary, where the token stands, with a gradient; None
            where the method does not ask for it (`Method.distributions`).
    """

    log_probs: torch.Tensor
    reference: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor
    kl: torch.Tensor | None = None

    def ratios(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-ratios [B] of policy to reference of chosen and rejected answers, summed over tokens by weights [2B,
        T]."""
        chosen, rejected = (weights * (self.log_probs - self.reference)).sum(1).chunk(2)
        return chosen, rejected


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities [B], each summed over an answer's tokens; those of the policy have gradients.

    Args:
        chosen, rejected: under the policy.
        ref_chosen, ref_rejected: under the reference.
        chosen_tokens, rejected_tokens: [B], lengths of the answers, their end included.
        mismatched: [], the mean log-ratio of policy to reference of answers to other rows, over all processes and
            without a gradient; None where the method does not ask for it (`Method.mismatched`).
        weights: [B], of the rows, as the data give them; None where the method asks for none (`Method.weigh`).
        second: the chosen answer beside the second rejected one, where rows have two.
        other: a pair of the same prompt under other images, where the method's source makes one (`OTHER_PAIR`).
        tokens: all of it by token, where the method asks for it (`Method.by_token`).
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    mismatched: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    second: PairLogProbs | None = None
    other: PairLogProbs | None = None
    tokens: PairTokens | None = None

    @property
    def chosen_ratio(self) -> torch.Tensor:
        """Log-ratios [B] of policy to reference of the chosen answers."""
        return self.chosen - self.ref_chosen

    @property
    def rejected_ratio(self) -> torch.Tensor:
        """Log-ratios [B] of policy to reference of the rejected answers."""
        return self.rejected - self.ref_rejected

    @property
    def margin(self) -> torch.Tensor:
        """How much more [B] the policy prefers the chosen answers than the reference does."""
        return self.chosen_ratio - self.rejected_ratio


Pairwise = Callable[[PairLogProbs], "torch.Tensor"]
"""A loss [B] of pairs."""
