"""Direct preference optimisation on offline pairs (DPO, Rafailov et al., arXiv 2305.18290)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from mmpref.align.method import Method
from mmpref.align.rewards import Reward, log_ratio, scaled
from mmpref.errors import UsageError
from mmpref.recipes.schema import OPTIONAL

if TYPE_CHECKING:
    import torch

    from mmpref.align.pair_log_probs import PairLogProbs

_ALPHA = 0.5
"""TRL's."""


@dataclass(frozen=True)
class Settings:
    """-log sigmoid(beta * (chosen log-ratio - rejected log-ratio)); ratios are to the base model, summed over tokens.

    Args:
        beta: how strongly the policy is held to the base model. The paper searches 0.05 to 0.5.
        f_divergence: what holds it there, instead of the reverse KL divergence: the loss is then of the derivative of
            another divergence at the ratio (f-DPO, Wang et al., arXiv 2309.16240), and so are the rewards in the log,
            which TRL's own trainer leaves as log-ratios.
        f_alpha: of the alpha divergence; None takes TRL's, 0.5.
    """

    beta: float = 0.1
    f_divergence: Literal["forward_kl", "js_divergence", "alpha_divergence"] | None = field(
        default=None, metadata=OPTIONAL
    )
    f_alpha: float | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.", "The paper searches 0.05 to 0.5.")
        if self.f_alpha is not None:
            if self.f_divergence != "alpha_divergence":
                raise UsageError(
                    "loss.f_alpha is for --set loss.f_divergence=alpha_divergence.", "Leave one of them out."
                )
            if not 0 < self.f_alpha < 1:
                raise UsageError(f"loss.f_alpha is {self.f_alpha}; it must lie between 0 and 1.", "1 is reverse KL.")

    @property
    def alpha(self) -> float:
        """Of the alpha divergence, if that is asked for."""
        return _ALPHA if self.f_alpha is None else self.f_alpha


def _derivative(settings: Settings, ratio: torch.Tensor) -> torch.Tensor:
    """f' at the exponential of a log-ratio [B]."""
    from torch.nn.functional import logsigmoid

    if settings.f_divergence == "forward_kl":
        return 1 - (-ratio).exp()
    if settings.f_divergence == "js_divergence":
        return math.log(2) + logsigmoid(ratio)
    power = settings.alpha - 1
    return (power * ratio).clamp(max=80).expm1() / power  # bounded as TRL has it


def _reward(settings: Settings) -> Reward:
    dpos = log_ratio(settings.beta)
    if settings.f_divergence is None:
        return dpos

    def of(pairs: PairLogProbs) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, rejected = (_derivative(settings, ratio) for ratio in (pairs.chosen_ratio, pairs.rejected_ratio))
        return scaled(settings.beta, (chosen, rejected))

    text = f"beta ({settings.beta:g}) times the derivative of {settings.f_divergence} at the ratio to the reference"
    return replace(dpos, text=text, of=of)


def _options(settings: Settings) -> dict[str, Any]:
    divergence = {"f_divergence_type": settings.f_divergence or "reverse_kl"}
    alpha = {"f_alpha_divergence_coef": settings.alpha}
    return {"loss_type": ["sigmoid"], "beta": settings.beta, **divergence, **alpha}


METHOD = Method(Settings, _options, reward=_reward)
