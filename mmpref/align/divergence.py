"""Whether a training diverges: its first loss, gradient or weight that is no number, and where its loss ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.align.log_means import first_mean
from mmpref.errors import RunError

if TYPE_CHECKING:
    import torch

_RISEN = 1.5
"""Times its first loss: a training that ends above that has diverged."""
_LEAST_FIRST = 0.1
"""Of losses that begin about zero, such as a policy gradient's, no ratio says anything."""


def refuse_diverged(weights: Iterable[torch.Tensor], step: int, learning_rate: float) -> None:
    """See that weights may be kept.

    Args:
        weights: what was trained.
        step: after which.

    Raises:
        RunError: one of them is not finite.
    """
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise diverged("weights", step, learning_rate)


def diverged(what: str, step: int, learning_rate: float) -> RunError:
    """What to say where the loss, the gradient or the weights are not finite."""
    return RunError(
        f"Step {step}: the {what} {'are' if what == 'weights' else 'is'} not finite: training diverged.",
        f"Lower --learning-rate=NUMBER (now {learning_rate:g}). A lower --set loss.beta=NUMBER or full precision, "
        "--set dtype=float32, may help too.",
    )


def first_loss(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The loss that a training began with; None where none was logged.

    Where log-ratios to the policy at the beginning are logged, they are 0 in the first row for whatever pairs, and it
    stands for all; else batches differ, and it is the mean over the pairs of the first tenth of the rows.
    """
    if rows and "logratios/chosen" in rows[0]:
        return rows[0].get("loss")
    return first_mean(rows, "loss")


def divergence_remark(first: float | None, final: float | None) -> str | None:
    """What to say of a loss that ended at more than 1.5 times what it began with; None of any other.

    Args:
        first: as `first_loss` finds it.
        final: the mean over the end (`mmpref.align.log_means`).
    """
    if first is None or final is None or first < _LEAST_FIRST or final <= _RISEN * first:
        return None
    return (
        f"Training diverged: the loss ended at {final:.3g}, and began at {first:.3g}. "
        "Lower --learning-rate=NUMBER, and train again."
    )
