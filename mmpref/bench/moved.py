"""Whether an adapter moved its base at all, by the share of its answers that are the base's to the letter.

The rule: it *barely moved* where on every benchmark at least 95 % of the answers are equal, and no headline metric's
difference has an interval that excludes 0. Greedy answers differ as soon as one token does, so that a long answer tells
more than a yes; the second half of the rule keeps few but decisive answers from being called nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmpref.errors import MmprefError
from mmpref.run.results import ADAPTER, BASE, Difference

BARELY = 0.95
"""Share of equal answers from which on an adapter has barely moved."""


def equal_share(answers: Mapping[str, Sequence[str | MmprefError]]) -> float | None:
    """Share of the samples that both models answered on which the two answers are equal; None where there is none.

    Args:
        answers: of ``base`` and ``adapter``, in one order; an error where there is no answer.
    """
    both = [
        (base, adapter)
        for base, adapter in zip(answers[BASE], answers[ADAPTER], strict=True)
        if isinstance(base, str) and isinstance(adapter, str)
    ]
    return sum(base == adapter for base, adapter in both) / len(both) if both else None


def remarks_on(shares: Mapping[str, float], differences: Sequence[Difference]) -> list[str]:
    """What needs to be said of an adapter that barely moved.

    Args:
        shares: of equal answers, by benchmark.
    """
    changed = any(difference.headline and difference.direction for difference in differences)
    if not shares or changed or min(shares.values()) < BARELY:
        return []
    equal = ", ".join(f"{100 * share:.0f} % on {benchmark}" for benchmark, share in shares.items())
    return [
        f"The adapter barely moved: its answers are the base's to the letter ({equal}). More steps or a higher "
        "learning rate of its training move it."
    ]
