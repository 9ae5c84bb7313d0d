"""When an adapter is said to have barely moved."""

from __future__ import annotations

import pytest

from mmpref.bench.moved import BARELY, equal_share, is_short, remarks_on
from mmpref.errors import ModelError
from mmpref.run.results import Difference


def difference(low: float, high: float, headline: bool = True) -> Difference:
    return Difference(
        benchmark="pope",
        part="all",
        metric="accuracy",
        value=(low + high) / 2,
        low=low,
        high=high,
        higher_is_better=True,
        headline=headline,
    )


def test_answers_are_equal_to_the_letter_and_missing_ones_do_not_count() -> None:
    failed = ModelError("no answer")
    answers = {"base": ["Yes", "no", "a cat", failed], "adapter": ["Yes", "No", failed, "a dog"]}
    assert equal_share(answers) == 0.5
    assert equal_share({"base": [failed], "adapter": ["yes"]}) is None


@pytest.mark.parametrize(
    ("shares", "differences", "told"),
    [
        ({"pope": 1.0, "chair": BARELY}, [difference(-0.1, 0.1)], True),
        ({"pope": 1.0, "chair": BARELY - 0.01}, [difference(-0.1, 0.1)], False),
        ({"pope": 0.97}, [difference(0.01, 0.05)], False),
        ({"pope": 0.97}, [difference(0.01, 0.05, headline=False)], True),
        ({}, [], False),
    ],
)
def test_the_rule(shares: dict[str, float], differences: list[Difference], told: bool) -> None:
    remarks = remarks_on(shares, differences)
    assert bool(remarks) == told
    assert all("barely moved" in remark and "% on pope" in remark for remark in remarks)
    assert not any("trainer." in remark for remark in remarks), "an evaluation has no such setting"


def test_equal_short_answers_alone_do_not_tell_that_it_barely_moved() -> None:
    (told,) = remarks_on({"pope": 0.98}, [], {"pope"})
    assert told.startswith("These short answers are nearly all the base's (98 % on pope)")
    assert "ask for captions (chair)" in told
    assert "learning rate" not in told
    (told,) = remarks_on({"pope": 0.98, "chair": 1.0}, [], {"pope"})
    assert "barely moved" in told
    assert remarks_on({"pope": 0.5}, [], {"pope"}) == []


@pytest.mark.parametrize(
    ("answers", "short"),
    [
        (["Yes", "No, there is not", "B", "A dog sits on the grass."], True),
        (["A dog sits on the grass.", "A cat sleeps on a red mat."], False),
        (["草地上有一只狗。"], False),
        (["", ModelError("no answer"), "A dog sits on the grass."], True),
        ([], True),
    ],
)
def test_which_answers_are_short(answers: list[str | ModelError], short: bool) -> None:
    assert is_short(answers) == short
