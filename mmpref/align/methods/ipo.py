"""Identity preference optimisation on offline pairs (IPO, Azar et al., arXiv 2310.12036; the paper's table 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.align.method import Method
from mmpref.align.rewards import Reward, log_ratio, mean_log_ratio
from mmpref.errors import UsageError

if TYPE_CHECKING:
    from mmpref.align.pair_log_probs import Pairwise


@dataclass(frozen=True)
class Settings:
    """(chosen - rejected log-ratio - 1 / (2 beta))^2; ratios are to the base model and averaged over tokens.

    The average is TRL's: sums grow with the answers' length, and IPO's authors confirmed to TRL that theirs are
    averages. IPO's paper writes sums. Rewards in the log are what the loss is of: TRL's own trainer has sums there.

    Args:
        beta: the regularisation, tau in IPO's paper. This paper searches 0.8 to 1.0.
        summed: ratios as the paper writes them, summed over tokens.
    """

    beta: float = 0.9
    summed: bool = False

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"loss.beta is {self.beta}; it must be above 0.", "The paper searches 0.8 to 1.0.")


def _pairwise(settings: Settings) -> Pairwise | None:
    if not settings.summed:
        return None
    return lambda pairs: (pairs.chosen_ratio - pairs.rejected_ratio - 1 / (2 * settings.beta)) ** 2


def _reward(settings: Settings) -> Reward:
    return (log_ratio if settings.summed else mean_log_ratio)(settings.beta)


def _options(settings: Settings) -> dict[str, Any]:
    return {"loss_type": [] if settings.summed else ["ipo"], "beta": settings.beta}


METHOD = Method(Settings, _options, pairwise=_pairwise, reward=_reward, tags=("preference",))
