"""The rule of verdicts, on both sides of every bound."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mmpref.bench.intervals import Estimate, estimate
from mmpref.errors import UsageError
from mmpref.study.claims import Claim, Compared, Direction, Outcome, judge, read
from tests.study.ledgers import claim, plan_of


def _estimate(low: float, high: float) -> Estimate:
    """Of about that 95 % interval."""
    middle, error = (low + high) / 2, (high - low) / 2 / 1.96
    resampled = middle + error * np.random.default_rng(0).normal(size=2000)
    return Estimate(middle, low, high, (middle,), error, float("inf"), resampled)


def _compared(direction: Direction, margin: float = 0.0, row: str = "a") -> Compared:
    return Compared(row, "chair chair_i", "test", direction, margin=margin)


@pytest.mark.parametrize(
    ("direction", "margin", "low", "high", "outcome"),
    [
        ("lower", 0.0, -0.03, -0.01, "holds"),
        ("lower", 0.0, -0.03, 0.01, "cannot be told"),
        ("lower", 0.0, 0.01, 0.03, "does not hold"),
        ("lower", 0.02, -0.01, 0.01, "does not hold"),  # too small to matter
        ("lower", 0.02, -0.01, -0.001, "holds"),  # small, and said to be so, but clear
        ("lower", 0.02, -0.03, 0.01, "cannot be told"),
        ("higher", 0.0, 0.01, 0.03, "holds"),
        ("higher", 0.0, -0.03, -0.01, "does not hold"),
        ("higher", 0.0, -0.01, 0.03, "cannot be told"),
        ("higher", 0.02, -0.01, 0.01, "does not hold"),
        ("equal", 0.02, -0.01, 0.019, "holds"),
        ("equal", 0.02, -0.01, 0.021, "cannot be told"),
        ("equal", 0.02, 0.021, 0.05, "does not hold"),
        ("equal", 0.02, -0.05, -0.021, "does not hold"),
        ("equal", 0.02, 0.01, 0.05, "cannot be told"),
        ("not higher", 0.02, -0.5, 0.019, "holds"),
        ("not higher", 0.02, 0.0, 0.03, "cannot be told"),
        ("not higher", 0.02, 0.03, 0.04, "does not hold"),
        ("not lower", 0.02, -0.019, 0.5, "holds"),
        ("not lower", 0.02, -0.03, 0.0, "cannot be told"),
        ("not lower", 0.02, -0.04, -0.03, "does not hold"),
    ],
)
def test_the_rule(direction: Direction, margin: float, low: float, high: float, outcome: Outcome) -> None:
    reading = read(_compared(direction, margin), _estimate(low, high))
    assert reading.outcome == outcome
    if outcome == "holds":
        assert reading.p_for < 0.06 < reading.p_against
    elif outcome == "does not hold":
        assert reading.p_against < 0.06 < reading.p_for
    else:
        assert min(reading.p_for, reading.p_against) > 0.04


def test_what_was_not_measured_is_not_run() -> None:
    assert read(_compared("lower"), None).outcome == "not run"


@pytest.mark.parametrize("direction", ["higher", "not higher", "equal"])
def test_images_that_are_all_alike_tell_nothing_of_others(direction: Direction) -> None:
    alike = estimate(np.zeros((1, 101)), 0)
    assert (alike.low, alike.high) == (0, 0)
    rounded = dataclasses.replace(alike, value=0.2, low=0.19999999999999996, high=0.20000000000000007)
    assert read(_compared(direction, margin=1.0), rounded).outcome == "cannot be told"
    reading = read(_compared(direction, margin=1.0), alike)
    assert (reading.outcome, reading.p_for, reading.p_against) == ("cannot be told", 1, 1)


@pytest.mark.parametrize(("changed", "outcome"), [(5, "cannot be told"), (6, "holds")])
def test_few_images_that_changed_do_not_tell_on_which_side_of_0(changed: int, outcome: Outcome) -> None:
    few = dataclasses.replace(_estimate(0.01, 0.03), changed=changed)
    higher, lower = (read(_compared(direction), few) for direction in ("higher", "lower"))
    assert higher.outcome == outcome
    assert lower.outcome == outcome.replace("holds", "does not hold")
    assert higher.p_for == lower.p_against == 2 ** (1 - changed)
    assert read(_compared("equal", margin=0.05), few).outcome == "holds", "all that changed is little"


def test_what_is_undefined_cannot_be_told() -> None:
    reading = read(_compared("lower"), estimate(np.full((1, 3), np.nan), 0))
    assert (reading.outcome, reading.p_for, reading.p_against) == ("cannot be told", 1, 1)


RIGHT, WRONG, OPEN = _estimate(-0.03, -0.01), _estimate(0.01, 0.03), _estimate(-0.02, 0.02)


@pytest.mark.parametrize(
    ("need", "estimates", "outcome"),
    [
        ("all", [RIGHT, RIGHT], "holds"),
        ("all", [RIGHT, OPEN], "cannot be told"),
        ("all", [RIGHT, WRONG], "does not hold"),
        ("all", [RIGHT, None], "not run"),
        ("all", [WRONG, None], "does not hold"),  # whatever the other says
        ("any", [WRONG, RIGHT], "holds"),
        ("any", [WRONG, WRONG], "does not hold"),
        ("any", [WRONG, OPEN], "cannot be told"),
        ("any", [RIGHT, None], "holds"),
        ("any", [WRONG, None], "not run"),
    ],
)
def test_several_effects(need: str, estimates: list[Estimate | None], outcome: Outcome) -> None:
    effects = tuple(_compared("lower", row=str(number)) for number in range(len(estimates)))
    made = judge([Claim("1", "?", effects, need)], lambda compared: estimates[int(compared.row)])  # type: ignore[arg-type]
    assert made[0].outcome == outcome
    if outcome in ("holds", "does not hold"):
        assert made[0].p < 0.06


BARELY_RIGHT, BARELY_WRONG = _estimate(-0.02, -0.0008), _estimate(0.0008, 0.02)


@pytest.mark.parametrize(
    ("need", "estimates", "outcome"),
    [
        ("all", [BARELY_WRONG], "does not hold"),
        ("all", [RIGHT, BARELY_WRONG, RIGHT], "cannot be told"),
        ("all", [BARELY_RIGHT, BARELY_RIGHT, BARELY_RIGHT], "holds"),  # each has to: none is picked
        ("any", [BARELY_RIGHT], "holds"),
        ("any", [WRONG, BARELY_RIGHT, OPEN], "cannot be told"),
        ("any", [BARELY_RIGHT, OPEN, None], "not run"),  # what is to come may decide
        ("any", [BARELY_WRONG, BARELY_WRONG, BARELY_WRONG], "does not hold"),
    ],
)
def test_one_effect_decides_only_where_it_is_clear_for_one_of_so_many(
    need: str, estimates: list[Estimate | None], outcome: Outcome
) -> None:
    """Of twenty effects of nothing one is off zero by chance."""
    effects = tuple(_compared("lower", row=str(number)) for number in range(len(estimates)))
    (made,) = judge([Claim("1", "?", effects, need)], lambda compared: estimates[int(compared.row)])  # type: ignore[arg-type]
    assert made.outcome == outcome
    assert (made.p <= 0.05) == (outcome in ("holds", "does not hold"))


def test_holm_is_over_the_claims_that_were_run() -> None:
    clear, close = _estimate(-0.03, -0.02), _estimate(-0.03, -0.001)
    of_row = {"clear": clear, "close": close, "missing": None}
    claims = [Claim(row, "?", (_compared("lower", row=row),)) for row in of_row]
    alone = judge(claims[1:2], lambda compared: of_row[compared.row])[0]
    assert alone.outcome == alone.corrected == "holds"
    assert alone.p_holm == alone.p
    verdicts = judge(claims, lambda compared: of_row[compared.row])
    assert [verdict.outcome for verdict in verdicts] == ["holds", "holds", "not run"]
    assert verdicts[0].p_holm == pytest.approx(2 * verdicts[0].p)
    assert verdicts[2].p_holm is None
    several = judge([claims[1]] * 4, lambda compared: of_row[compared.row])
    assert several[0].outcome == "holds"
    assert several[0].p_holm == pytest.approx(4 * several[0].p)
    assert several[0].corrected == "cannot be told"


def test_equality_that_is_claimed_needs_a_margin() -> None:
    with pytest.raises(UsageError, match="margin"):
        _compared("equal")
    with pytest.raises(UsageError, match="no metric"):
        Compared("a", "chair", "test", "lower")
    with pytest.raises(UsageError, match="no effects"):
        Claim("1", "?", ())


def test_claims_are_read_from_a_plan(tmp_path: Path) -> None:
    effect = {"row": "bdhs", "direction": "lower", "margin": 0.01}
    plan = plan_of(tmp_path, ["bdhs"], [claim("1", effect, need="any", where="here")])
    (read_claim,) = plan.claims
    assert read_claim.effects[0].key == ("chair", "chair_i", "all")
    assert (read_claim.need, read_claim.where, read_claim.effects[0].margin) == ("any", "here", 0.01)


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ({"row": "bhds", "direction": "lower"}, "Did you mean 'bdhs'"),
        ({"row": "bdhs", "against": "sfd", "direction": "lower"}, "'sfd'"),
        ({"row": "bdhs", "split": "tst", "direction": "lower"}, "Did you mean 'test'"),
        ({"row": "bdhs", "direction": "down"}, "lower, higher, equal"),
        ({"row": "bdhs", "direction": "lower", "margn": 1}, "Did you mean 'margin'"),
    ],
)
def test_claims_of_what_a_plan_lacks_are_refused(tmp_path: Path, effect: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        plan_of(tmp_path, ["bdhs"], [claim("1", effect)])
    assert words in f"{refused.value.message} {refused.value.hint}"


def test_an_id_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several claims '1'"):
        plan_of(tmp_path, ["bdhs"], [claim("1", {"row": "bdhs", "direction": "lower"})] * 2)
