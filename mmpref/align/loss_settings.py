"""Losses over pairs, by name: what TRL calls them, and what their strength means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmpref.align.rewards import Reward, log_ratio, mean_log_ratio
from mmpref.errors import UsageError

if TYPE_CHECKING:
    import torch

    Terms = Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]

Kind = Literal["sigmoid", "ipo", "hinge"]
BETAS: dict[str, float] = {"sigmoid": 0.1, "ipo": 0.9, "hinge": 0.1}
"""Within the ranges that the paper searches (appendix A)."""


@dataclass(frozen=True)
class BetaSettings:
    """A loss of TRL's over the pairs of the data; the method's own lines say which.

    Args:
        beta: how strongly the policy is held to the base model.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.")


@dataclass(frozen=True)
class SmoothedSettings(BetaSettings):
    """The same for labels that may be wrong.

    Args:
        label_smoothing: share of pairs that are taken to have the better answer as the rejected one; below 0.5.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 0.5:
            raise UsageError(f"loss.label_smoothing is {self.label_smoothing}; it must be at least 0 and below 0.5.")


def trl_loss(kind: str, **options: Any) -> Callable[[BetaSettings], dict[str, Any]]:
    """What makes options of `trl.DPOConfig` of such settings.

    Args:
        kind: TRL's name of the loss.
        options: more of them, the same for all settings.
    """

    def trainer(settings: BetaSettings) -> dict[str, Any]:
        smoothing = {"label_smoothing": settings.label_smoothing} if isinstance(settings, SmoothedSettings) else {}
        return {"loss_type": [kind], "beta": settings.beta, **smoothing, **options}

    return trainer


def no_trl_loss(settings: BetaSettings) -> dict[str, Any]:
    """Options of `trl.DPOConfig` for a method whose loss is its own."""
    return {"loss_type": [], "beta": settings.beta}


@dataclass(frozen=True)
class PairwiseSettings:
    """A loss over pairs, whichever the method's pairs are.

    Args:
        kind: ``sigmoid`` (DPO), ``ipo`` or ``hinge`` (SLiC).
        beta: how strongly the policy is held to the base model; None takes 0.1, for ipo 0.9.
    """

    kind: Kind = "sigmoid"
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.beta is not None and not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.", "The paper searches 0.02 to 1.")


@dataclass(frozen=True)
class AveragedSettings(PairwiseSettings):
    """A loss against two rejected answers.

    Args:
        gamma: weight of the external one's; the policy's own has the rest. The paper's is 0.5.
    """

    gamma: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma <= 1:
            raise UsageError(f"loss.gamma is {self.gamma}; it must lie between 0 and 1.", "The paper's is 0.5.")

    @property
    def averaged(self) -> bool:
        """Whether the external rejected answers have a part in it."""
        return self.gamma > 0

    @property
    def weights(self) -> tuple[float, ...]:
        return (self.gamma, 1 - self.gamma) if self.averaged else (1.0,)


def loss_options(settings: PairwiseSettings) -> dict[str, Any]:
    """The loss as options of `trl.DPOConfig`."""
    return {"loss_type": [settings.kind], "beta": _beta(settings)}


def loss_reward(settings: PairwiseSettings) -> Reward:
    """What that loss holds an answer to be worth: TRL's IPO averages over tokens."""
    return (mean_log_ratio if settings.kind == "ipo" else log_ratio)(_beta(settings))


def _beta(settings: PairwiseSettings) -> float:
    return BETAS[settings.kind] if settings.beta is None else settings.beta
