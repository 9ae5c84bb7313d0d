"""The rule that keeps a round and stops a chain, and its table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmpref.run.results import Difference, Value
from mmpref.run.rounds import Round, StopRule, kept_of, table, title


def value(number: float, higher: bool = False) -> Value:
    names = {"model": "adapter", "benchmark": "chair", "part": "all", "metric": "chair_i"}
    return Value(**names, value=number, low=number - 0.1, high=number + 0.1, higher_is_better=higher)  # type: ignore[arg-type]


def difference(change: float, width: float, higher: bool = False) -> Difference:
    names = {"benchmark": "chair", "part": "all", "metric": "chair_i"}
    return Difference(**names, value=change, low=change - width, high=change + width, higher_is_better=higher)  # type: ignore[arg-type]


def rounds_of(rule: StopRule, values: Sequence[float], width: float = 0.01, kl: float = 0.1) -> list[Round]:
    """Rounds by the rule, of a base that has 0.30 of what is better where it is less."""
    rounds: list[Round] = []
    for number, one in enumerate(values, 1):
        kept = kept_of(rounds)
        best = value(0.30) if not kept else rounds[kept - 1].value
        change = difference(one - best.value, width)
        outcome = rule.outcome(value(one), best, change, kl * number)
        rounds.append(Round(number, 10, 2, value(one), kept, change, kl * number, outcome))
        if rule.reason_to_stop(rounds):
            break
    return rounds


@pytest.mark.parametrize(
    ("rule", "values", "outcomes", "reason"),
    [
        (StopRule(), (0.25, 0.26, 0.2), ["kept", "no better"], "round 2 was no better"),
        (StopRule(), (0.31, 0.2), ["no better"], "round 1 was no better"),
        (StopRule(), (0.30,), ["no better"], "round 1 was no better"),
        (StopRule(), (float("nan"),), ["no better"], "round 1 was no better"),
        (StopRule(patience=2), (0.31, 0.2, 0.22, 0.21), ["no better", "kept", "no better", "no better"], "2 rounds in"),
        (StopRule("clear"), (0.25, 0.245), ["kept", "not clearly better"], "round 2 was not clearly better"),
        (StopRule("clear", 2), (0.295, 0.2), ["not clearly better", "kept"], None),
        (StopRule(max_kl=0.15), (0.25, 0.2), ["kept", "too far"], "round 2 is 0.2 nats a token"),
        (StopRule(max_kl=0.15, patience=5), (0.25, 0.2, 0.1), ["kept", "too far"], "more than 0.15"),
        (StopRule(), (0.25, 0.2, 0.1), ["kept"] * 3, None),
    ],
)
def test_a_rule(rule: StopRule, values: Sequence[float], outcomes: list[str], reason: str | None) -> None:
    rounds = rounds_of(rule, values)
    assert [one.outcome for one in rounds] == outcomes
    assert kept_of(rounds) == max((number for number, one in enumerate(outcomes, 1) if one == "kept"), default=0)
    told = rule.reason_to_stop(rounds)
    assert (told is None) if reason is None else (told is not None and reason in told)


def test_more_may_be_better_and_what_is_not_tested_is_not_clear() -> None:
    assert StopRule().outcome(value(0.4, True), value(0.3, True), None, None) == "kept"
    assert StopRule().outcome(value(0.2, True), value(0.3, True), None, None) == "no better"
    assert StopRule("clear").outcome(value(0.4, True), value(0.3, True), None, None) == "not clearly better"


def test_rounds_are_read_as_they_were_written_and_fit_80_columns() -> None:
    rounds = rounds_of(StopRule("clear", 3), (0.2, 0.1999, 0.25))
    assert [Round.from_dict(one.as_dict()) for one in rounds] == rounds
    columns, rows = table(value(0.30), rounds)
    widths = [max(len(row[place]) for row in [columns, *rows]) for place in range(len(columns))]
    assert sum(widths) + 2 * (len(widths) - 1) <= 80
    assert rows[0][:4] == ["base", "", "", "0.300"]
    assert [row[-1] for row in rows[1:]] == ["kept", "not clearly better", "no better"]
    assert title("chair/chair_i", value(0.3), "mine:dev") == "rounds: chair/chair_i ↓ on mine:dev"


def test_the_rule_is_said_in_words() -> None:
    assert StopRule("clear", 2, 0.2).text == (
        "A round is kept where its metric is better than that of what was kept before, and the paired 95 % interval of "
        "the difference excludes 0, with p below 0.05; a round over 0.2 nats a token from the base is not kept. The "
        "chain stops after 2 rounds in a row without that."
    )


def test_the_adapter_that_a_chain_begins_with_is_round_0() -> None:
    rounds = rounds_of(StopRule(), (0.25,))
    _, rows = table(value(0.30), rounds, value(0.28))
    assert [(row[0], row[3]) for row in rows] == [("base", "0.300"), ("0", "0.280"), ("1", "0.250")]
