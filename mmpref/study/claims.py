"""What a plan claims, and what is concluded from effects: holds here, does not hold here, cannot be told.

A claim in a plan's YAML::

    claims:
      - id: "6"
        says: Going on from the reference's own sentences is better than writing the whole answer from a hidden image.
        where: test scenes, in which the prior misleads
        effects:
          - {row: bdhs, against: unguided, metric: chair chair_i, split: test, direction: lower, margin: 0.005}

An effect's ``direction`` is a side of a bound, or both: ``lower`` than 0, ``higher`` than 0, ``not
higher`` than the margin, ``not lower`` than minus the margin, ``equal`` (between both). It **holds** where its 95 %
interval lies wholly there, and **does not** where the interval lies wholly outside: for ``lower`` and ``higher`` also
where it lies within the margin around 0, an effect too small to matter. Else it **cannot be told**, and where a row has
not been measured it is **not run**. An interval of no width, of images that are all alike, tells nothing, and on which
side of 0 an effect lies is not told where so few images changed that no test could be sure of it
(`mmpref.bench.significance.exchange_p`). Of several effects a claim needs ``all`` (the default) or ``any``. Where one
of them decides, one that does not hold of ``all`` or that holds of ``any``, it was picked among them, and has to be
clear at 5 % divided by their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmpref.bench.intervals import Estimate
from mmpref.bench.significance import holm
from mmpref.errors import UsageError
from mmpref.run.results import LEVEL, Key
from mmpref.run.results_text import no_worse_of

Direction = Literal["lower", "higher", "equal", "not higher", "not lower"]
NEEDS_MARGIN = ("equal", "not higher", "not lower")
Outcome = Literal["holds", "does not hold", "cannot be told", "not run"]


@dataclass(frozen=True)
class Compared:
    """An effect that a claim speaks of.

    Args:
        row: whose.
        metric: ``benchmark metric`` or ``benchmark metric part``.
        split: name of an evaluation of the plan.
        direction: what it is said to be.
        against: another row; the base by default.
        margin: in the metric's units: a difference that makes none.
    """

    row: str
    metric: str
    split: str
    direction: Direction
    against: str | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        if len(self.metric.split()) not in (2, 3):
            raise UsageError(f"{self.metric!r} is no metric.", "Write 'benchmark metric', such as chair recall.")
        if not self.margin >= 0 or (self.direction in NEEDS_MARGIN and self.margin == 0):
            raise UsageError(
                f"{self.row} on {self.metric} is claimed {self.direction!r}; the margin is {self.margin}.",
                "Say above what a difference matters: margin: 0.01",
            )

    @property
    def key(self) -> Key:
        return Key.of(self.metric)


@dataclass(frozen=True)
class Claim:
    """A sentence that effects bear out or not.

    Args:
        id: unique in the plan.
        says: the sentence, in our words.
        effects: what it comes to in numbers.
        need: ``all`` of the effects, or ``any``.
        where: under which conditions, for readers.
        paper: where it is from, such as a table; empty for one of our own.
    """

    id: str
    says: str
    effects: tuple[Compared, ...]
    need: Literal["all", "any"] = "all"
    where: str = ""
    paper: str = ""

    def __post_init__(self) -> None:
        if not self.effects:
            raise UsageError(f"The claim {self.id} has no effects.")


@dataclass(frozen=True)
class Reading:
    """What one effect says of a claim.

    Args:
        p_for, p_against: two-sided p-values of "it is as claimed" and of the opposite; 1 where it was not run.
        small: it lies wholly within the margin around 0.
    """

    outcome: Outcome
    p_for: float = 1.0
    p_against: float = 1.0
    small: bool = False


@dataclass(frozen=True)
class Verdict:
    """What is concluded of a claim.

    Args:
        outcome: by the 95 % intervals.
        p: of what is concluded, or would be if it were clear.
        p_holm: corrected for all claims of the study that were run; None of one that was not.
        corrected: the outcome that is left after the correction.
    """

    claim: Claim
    readings: tuple[Reading, ...]
    outcome: Outcome
    p: float = 1.0
    p_holm: float | None = None
    corrected: Outcome = "not run"


def names_in(claims: Sequence[Claim], where: str) -> Iterator[tuple[str, str, str]]:
    """What claims name of a plan: kind (``row`` or ``evaluate``), name and the claim that it is in.

    Args:
        where: the plan, for messages.

    Raises:
        UsageError: two claims of one id.
    """
    for number, claim in enumerate(claims):
        if any(other.id == claim.id for other in claims[:number]):
            raise UsageError(f"{where}: there are several claims {claim.id!r}.")
        for effect in claim.effects:
            for name in filter(None, (effect.row, effect.against)):
                yield "row", name, f"claim {claim.id!r}"
            yield "evaluate", effect.split, f"claim {claim.id!r}"


def read(compared: Compared, estimate: Estimate | None) -> Reading:
    """What an effect says, None being one that was not measured."""
    if estimate is None:
        return Reading("not run")
    if math.isnan(estimate.value):  # a model that mentions nothing has no share of false mentions
        return Reading("cannot be told")
    if math.isclose(estimate.low, estimate.high, abs_tol=1e-9):  # every image is alike, such as of an adapter that
        return Reading("cannot be told")  # writes what the base writes: resampling cannot tell how many others differ
    low, high, margin = estimate.low, estimate.high, compared.margin
    small = -margin <= low and high <= margin and margin > 0
    below, above = estimate.p_below, estimate.p_above
    is_below, is_above = estimate.off_zero and high < 0, estimate.off_zero and low > 0
    p_for, p_against, holds, fails = {
        "lower": (below(0), above(0), is_below, is_above or small),
        "higher": (above(0), below(0), is_above, is_below or small),
        "not higher": (below(margin), above(margin), *_against_margin(low, high, False, margin)),
        "not lower": (above(-margin), below(-margin), *_against_margin(low, high, True, margin)),
        "equal": (
            max(below(margin), above(-margin)),
            min(above(margin), below(-margin)),
            -margin < low and high < margin,
            low > margin or high < -margin,
        ),
    }[compared.direction]
    if small and not holds and compared.direction in ("lower", "higher"):
        p_against = min(p_against, max(below(margin), above(-margin)))
    outcome: Outcome = "holds" if holds else "does not hold" if fails else "cannot be told"
    return Reading(outcome, p_for, p_against, small)


def _against_margin(low: float, high: float, higher_is_better: bool, margin: float) -> tuple[bool, bool]:
    """Whether it is no worse than the margin, and whether it is worse, as `mmpref compare --margin` has it."""
    verdict = no_worse_of(low, high, higher_is_better, margin)
    return verdict == "no worse", verdict == "worse"


def judge(claims: Sequence[Claim], effect: Callable[[Compared], Estimate | None]) -> list[Verdict]:
    """A verdict for each claim, with Holm's correction over those that were run.

    Args:
        effect: finds what a claim speaks of; None where it was not measured.
    """
    verdicts = [
        _judged(claim, tuple(read(compared, effect(compared)) for compared in claim.effects)) for claim in claims
    ]
    run = [index for index, verdict in enumerate(verdicts) if verdict.outcome != "not run"]
    for index, p in zip(run, holm([verdicts[index].p for index in run]), strict=True):
        verdict = verdicts[index]
        kept: Outcome = verdict.outcome if p <= 1 - LEVEL else "cannot be told"
        verdicts[index] = replace(verdict, p_holm=p, corrected=kept)
    return verdicts


def _judged(claim: Claim, readings: tuple[Reading, ...]) -> Verdict:
    """Of a claim by itself. Where it takes every effect to be right, p is the largest; where one will do, the smallest
    times their number, and only one for which that is at most 5 % does."""
    every: Outcome
    one: Outcome
    every, one = ("holds", "does not hold") if claim.need == "all" else ("does not hold", "holds")
    outcomes = [reading.outcome for reading in readings]
    p_for, p_against = [reading.p_for for reading in readings], [reading.p_against for reading in readings]
    p_every, p_one = (p_for, p_against) if claim.need == "all" else (p_against, p_for)
    ways: dict[Outcome, float] = {every: max(p_every), one: min(1.0, len(readings) * min(p_one))}
    outcome: Outcome
    if one in outcomes and (len(readings) == 1 or ways[one] <= 1 - LEVEL):
        outcome = one
    elif all(each == every for each in outcomes):
        outcome = every
    else:
        outcome = "not run" if "not run" in outcomes else "cannot be told"
    return Verdict(claim, readings, outcome, ways.get(outcome, min(ways.values())))
