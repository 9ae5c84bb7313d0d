"""Points and rows that fail: what is tried again, and what is chosen without them."""

from __future__ import annotations

from dataclasses import replace

from tests.study.conftest import PLAN, WritePlan
from tests.study.pretended import pretend, run, run_but, schedule_of


def test_a_point_that_fails_is_left_out_of_the_choice(write_plan: WritePlan) -> None:
    path = write_plan()
    schedule = schedule_of(path)
    run_but(schedule, 1e-3)
    runs = {one.row: one.point for one in schedule.measured() if not one.is_grid_point}
    assert runs["bdhs"] == {"trainer.learning_rate": 1e-2}
    [failure] = schedule.failures.values()
    assert (failure.is_grid_point, "the loss is not finite" in failure.reason) == (True, True)
    assert run(schedule_of(path)) == []  # the runs keep the choice that was made without it


def test_a_point_that_failed_under_other_settings_is_tried_again(write_plan: WritePlan) -> None:
    longer = {"dpo": {**PLAN["train"]["dpo"], "trainer": {**PLAN["train"]["dpo"]["trainer"], "max_steps": 3}}}
    run_but(schedule_of(write_plan()), 1e-3)
    mended = schedule_of(write_plan(train=longer))
    assert "bdhs, base 0, seed 0 trainer.learning_rate=0.001 (grid)" in run(mended)
    runs = {one.row: one.point for one in mended.measured() if not one.is_grid_point}
    assert runs["bdhs"] == runs["fewer"] == {"trainer.learning_rate": 1e-3}
    assert mended.ledger.failures() == []


def test_a_point_that_failed_is_tried_again_where_its_rows_runs_are_of_other_settings(write_plan: WritePlan) -> None:
    """The evaluation on test has changed, that on dev, by which the grid chooses, has not."""
    run_but(schedule_of(write_plan()), 1e-3)
    evaluate = {**PLAN["evaluate"], "test": {"benchmarks": ["chair"], "limit": 9}}
    changed = schedule_of(write_plan(evaluate=evaluate))
    run(changed)
    runs = {one.row: one.point for one in changed.measured() if not one.is_grid_point}
    assert runs["bdhs"] == {"trainer.learning_rate": 1e-3}


def test_a_failure_of_a_ledger_that_does_not_say_of_what_is_tried_again(write_plan: WritePlan) -> None:
    path = write_plan()
    schedule = schedule_of(path)
    run_but(schedule, 1e-3)
    [failure] = schedule.ledger.failures()
    schedule.ledger.write_failure(replace(failure, hashes={}))
    assert "bdhs, base 0, seed 0 trainer.learning_rate=0.001 (grid)" in run(schedule_of(path))


def test_points_that_have_failed_stay_so_in_rows_that_need_each_other(write_plan: WritePlan) -> None:
    """The first by name needs the other, whose choice must be known before its own points are."""
    data = {**PLAN["data"], "again": {"method": "mix", "source": [{"data": "pairs"}]}}
    rows = {
        "base": {},
        "first": {"data": "again", "train": "on"},
        "second": {"data": "pairs", "train": "dpo"},
    }
    train = {**PLAN["train"], "on": {**PLAN["train"]["dpo"], "adapter": {"row": "second"}}}
    path = write_plan(data=data, rows=rows, train=train)
    schedule = schedule_of(path)
    run_but(schedule, 1e-3)
    assert schedule.missing() == []
    again = schedule_of(path)
    assert again.missing() == []
    assert {one.row for one in again.measured() if not one.is_grid_point} == set(rows)
    assert run(again) == []


def test_a_row_whose_data_fail_is_recorded_and_the_others_go_on(write_plan: WritePlan) -> None:
    data = {**PLAN["data"], "bad": {"method": "bdhs", "limit": 3}}
    rows = {**PLAN["rows"], "bad": {"data": "bad", "train": "dpo", "grid": "none"}}
    path = write_plan(data=data, rows=rows)
    schedule = schedule_of(path)
    while unit := schedule.next():
        if unit.step and "'bad'" in unit.step.what:
            schedule.failed(unit, "no usable row")
        else:
            pretend(schedule, unit)
    assert [target.row for target in schedule.missing()] == ["bad"]
    [failure] = schedule.ledger.failures()
    assert failure.row == "bad"
    assert failure.reason == "the pairs 'bad' on base 0 failed: no usable row"
    again = schedule_of(path)
    assert run(again)[0] == "the pairs 'bad' on base 0"
    assert (again.ledger.failures(), again.missing()) == ([], [])
