"""Direct preference optimisation on offline pairs (DPO, Rafailov et al., arXiv 2305.18290)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mmpref.align.method import Method
from mmpref.errors import UsageError
from mmpref.recipes.schema import OPTIONAL


@dataclass(frozen=True)
class Settings:
    """-log sigmoid(beta * (chosen log-ratio - rejected log-ratio)); ratios are to the base model, summed over tokens.

    Args:
        beta: how strongly the policy is held to the base model. The paper searches 0.05 to 0.5.
        f_divergence: what holds it there, instead of the reverse KL divergence: the loss is then of the derivative of
            another divergence at the ratio (f-DPO, Wang et al., arXiv 2309.16240).
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
                raise UsageError("loss.f_alpha is for loss.f_divergence=alpha_divergence.", "Leave one of them out.")
            if not 0 < self.f_alpha < 1:
                raise UsageError(f"loss.f_alpha is {self.f_alpha}; it must lie between 0 and 1.", "1 is reverse KL.")


def _options(settings: Settings) -> dict[str, Any]:
    divergence = {"f_divergence_type": settings.f_divergence or "reverse_kl"}
    alpha = {"f_alpha_divergence_coef": 0.5 if settings.f_alpha is None else settings.f_alpha}
    return {"loss_type": ["sigmoid"], "beta": settings.beta, **divergence, **alpha}


METHOD = Method(Settings, _options)
