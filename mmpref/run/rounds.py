"""Rounds of build -> train -> evaluate: what was measured of each, which one is kept, and when there are enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmpref.log import counted
from mmpref.run.asked import Asked
from mmpref.run.results import Difference, Value
from mmpref.run.results_text import decimals, interval_text

Outcome = Literal["kept", "no better", "not clearly better", "too far"]
"""What becomes of a round; too far is from the base."""
_KEPT: Outcome = "kept"


@dataclass(frozen=True)
class StopRule:
    """What is an improvement, and when there are enough rounds without one.

    Args:
        improves: ``better``: a round's metric is better than that of the round that is kept; ``clear``: and their
            paired difference has the verdict better: its 95 % interval excludes 0, and p is below 0.05.
        patience: the chain stops after so many rounds in a row that are no improvement.
        max_kl: a round that is farther from the base, in nats a token, is not kept, and the chain stops there.
    """

    improves: Literal["better", "clear"] = "better"
    patience: int = 1
    max_kl: float | None = None

    def outcome(self, value: Value, best: Value, difference: Difference | None, kl: float | None) -> Outcome:
        """What becomes of a round.

        Args:
            value: its metric.
            best: that of what is kept: an earlier round, or what the chain began with, the base or an adapter.
            difference: from ``best``, paired by image; None where the two cannot be tested against each other.
            kl: of the round from the base, nats a token; None where it was not measured.
        """
        if self.max_kl is not None and kl is not None and not kl <= self.max_kl:
            return "too far"
        change = value.value - best.value if difference is None else difference.value
        gain = change * (1 if value.higher_is_better else -1)
        if not gain > 0:
            return "no better"
        clear = difference is not None and difference.verdict == "better"
        return "kept" if clear or self.improves == "better" else "not clearly better"

    def reason_to_stop(self, rounds: Sequence[Round]) -> str | None:
        """Why there is no round after these; None where there is one."""
        last = rounds[-1]
        if last.outcome == "too far":
            return f"round {last.number} is {last.kl:.3g} nats a token from the base, more than {self.max_kl:g}"
        misses = len(rounds) - max((place for place, one in enumerate(rounds, 1) if one.outcome == _KEPT), default=0)
        if misses < self.patience:
            return None
        which = f"round {last.number} was" if misses == 1 else f"{misses} rounds in a row were"
        return f"{which} {last.outcome if misses == 1 else 'no improvement'}"

    @property
    def text(self) -> str:
        """The rule in words."""
        what = "its metric is better than that of what was kept before"
        if self.improves == "clear":
            what += ", and the paired 95 % interval of the difference excludes 0, with p below 0.05"
        far = f"; a round over {self.max_kl:g} nats a token from the base is not kept" if self.max_kl else ""
        rounds = counted(self.patience, "round", "rounds in a row")
        return f"A round is kept where {what}{far}. The chain stops after {rounds} without that."


@dataclass(frozen=True)
class Round:
    """What was measured of a round on the data that choose.

    Args:
        number: from 1.
        pairs: that it was trained on.
        steps: of its training.
        value: of the metric that chooses.
        before: the round that was kept until then; 0 is what the chain began with, the base or an adapter.
        difference: from that, paired by image; None where the two cannot be tested against each other.
        kl: from the base, nats a token; None where it was not measured.
        outcome: what became of it.
    """

    number: int
    pairs: int
    steps: int
    value: Value
    before: int
    difference: Difference | None
    kl: float | None
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "round": self.number,
            "pairs": self.pairs,
            "steps": self.steps,
            "value": self.value.as_dict(),
            "before": self.before,
            "difference": self.difference and self.difference.as_dict(),
            "kl": self.kl,
            "outcome": self.outcome,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Round:
        """As `as_dict` gives it."""
        difference = row["difference"] and Difference.from_dict(row["difference"])
        numbers = row["round"], row["pairs"], row["steps"]
        return cls(*numbers, Value.from_dict(row["value"]), row["before"], difference, row["kl"], row["outcome"])


def kept_of(rounds: Sequence[Round]) -> int:
    """The number of the round that is kept; 0, what the chain began with, where none is."""
    return max((one.number for one in rounds if one.outcome == _KEPT), default=0)


def start_folder(chain: Path) -> Path:
    """Where the adapter that a chain begins with, if there is one, is evaluated on the data that choose."""
    return chain / "round-0" / "evaluate"


def test_folder(chain: Path, kept: int) -> Path:
    """Where the round that a chain keeps is evaluated on data that chose nothing."""
    return chain / f"test-of-round-{kept}"


def table(base: Value, rounds: Sequence[Round], begun: Value | None = None) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of text that 80 columns hold: the base, then a row for each round.

    Args:
        begun: of the adapter that the chain began with, which stands between them as round 0.
    """
    digits = decimals(base.value)
    before = [("base", base), *([("0", begun)] if begun else [])]
    lines = [[name, "", "", interval_text(one.value, None, None, digits=digits), "", "", ""] for name, one in before]
    for one in rounds:
        change = one.difference.text(signed=True, digits=digits) if one.difference else "–"
        lines.append(
            [
                str(one.number),
                f"{one.pairs:,}",
                f"{one.steps:,}",
                interval_text(one.value.value, None, None, digits=digits),
                change,
                "–" if one.kl is None else f"{one.kl:.3f}",
                one.outcome,
            ]
        )
    return ["round", "pairs", "steps", "value", "from what was kept", "KL", "outcome"], lines


def begun_value(manifest: Mapping[str, Any]) -> Value | None:
    """The metric of the adapter that a chain began with; None of a chain that began with the base."""
    return Value.from_dict(manifest["begun"]["value"]) if "begun" in manifest else None


def title(metric: str, value: Value, data: str) -> str:
    """What the table is of.

    Args:
        metric: as ``BENCHMARK/METRIC``.
        data: that choose.
    """
    arrow = {True: "↑", False: "↓", None: ""}[value.higher_is_better]
    return f"rounds: {metric} {arrow} on {data}"


def reported_on(manifest: Mapping[str, Any], name: Callable[[str], str] = str) -> str:
    """On which data the results in the end are, and how many of their questions chose the round; "" where none are.

    Args:
        manifest: of a chain.
        name: writes the name of data.
    """
    asked = {label: Asked.from_dict(of) for label, of in manifest["reported_on"].items()}
    if not asked:
        return ""
    shared = manifest.get("shared_questions", {})
    again = [f"{number:,} of the {asked[label].questions:,} of {label}" for label, number in shared.items()]
    which = ", ".join(name(of.which) for of in asked.values())
    if not again:
        return f"{which}, which chose nothing"
    return f"{which}; of its questions {', '.join(again)} chose the round too, and look better than they are"
