"""Whether an adapter moved its base at all, by the share of its answers that are the base's to the letter.

The rule: it *barely moved* where on every benchmark at least 95 % of the answers are equal, and no headline metric's
difference has an interval that excludes 0; the second half keeps few but decisive answers from being called nothing.
Greedy answers differ as soon as one token does, so that long ones tell that an adapter moved little. Of short ones, a
yes or a letter, most are the base's after a training that moved it much: alone they tell nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median

from mmpref.errors import MmprefError
from mmpref.run.results import ADAPTER, BASE, Difference
from mmpref.words import words

BARELY = 0.95
"""Share of equal answers from which on an adapter has barely moved."""
_SHORT = 4
"""Words, at most, of answers that are a choice and no free text: "Yes", "B", "two cats"."""


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


def is_short(answers: Sequence[str | MmprefError]) -> bool:
    """Whether most of a model's answers are of a few words; those that are missing do not count."""
    lengths = [len(words(answer)) for answer in answers if isinstance(answer, str)]
    return not lengths or median(lengths) <= _SHORT


def remarks_on(
    shares: Mapping[str, float], differences: Sequence[Difference], short: Collection[str] = ()
) -> list[str]:
    """What needs to be said of an adapter that barely moved, or of which too little was asked to tell.

    Args:
        shares: of equal answers, by benchmark.
        short: benchmarks whose answers are (`is_short`).
    """
    changed = any(difference.headline and difference.direction for difference in differences)
    if not shares or changed or min(shares.values()) < BARELY:
        return []
    equal = ", ".join(f"{100 * share:.0f} % on {benchmark}" for benchmark, share in shares.items())
    if short and shares.keys() <= set(short):
        return [
            f"These short answers are nearly all the base's ({equal}), which does not tell whether the adapter moved: "
            "ask for captions (chair) to see it."
        ]
    return [
        f"The adapter barely moved: its answers are the base's to the letter ({equal}). More steps or a higher "
        "learning rate of its training move it."
    ]
