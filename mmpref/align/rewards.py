"""What a loss over pairs holds an answer to be worth: its rewards, which a training logs.

A method's reward is the one that its own loss compares (`mmpref.align.method.Method.reward`): the logged margin is the
chosen answer's less the rejected one's, and the accuracy the share of pairs where it is above 0, ties counting half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs


@dataclass(frozen=True)
class Reward:
    """Of an answer.

    Args:
        text: what it is, for readers of the log: "beta times ...".
        of: rewards [B] of the chosen and of the rejected answers of pairs.
    """

    text: str
    of: Callable[[PairLogProbs], tuple[torch.Tensor, torch.Tensor]]


def scaled(
    factor: float | torch.Tensor, answers: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards [B] of chosen and rejected answers, times a factor."""
    chosen, rejected = answers
    return factor * chosen, factor * rejected


def log_ratio(beta: float) -> Reward:
    """DPO's: beta times the log-ratio of policy to reference."""
    return Reward(
        f"beta ({beta:g}) times the answer's log-ratio to the reference",
        lambda pairs: (beta * pairs.chosen_ratio, beta * pairs.rejected_ratio),
    )


def mean_log_ratio(beta: float) -> Reward:
    """The same of a token in the mean."""
    return Reward(
        f"beta ({beta:g}) times the mean log-ratio a token to the reference",
        lambda pairs: (
            beta * pairs.chosen_ratio / pairs.chosen_tokens,
            beta * pairs.rejected_ratio / pairs.rejected_tokens,
        ),
    )


def mean_log_prob(beta: float) -> Reward:
    """Of losses without a reference: beta times the log-probability of a token in the mean."""
    return Reward(
        f"beta ({beta:g}) times the mean log-probability a token",
        lambda pairs: (
            beta * pairs.chosen / pairs.chosen_tokens,
            beta * pairs.rejected / pairs.rejected_tokens,
        ),
    )
