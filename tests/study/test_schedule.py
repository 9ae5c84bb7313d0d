"""What is done next: order, sharing, grids, failures, and going on from a ledger. Work is only pretended here; what it
really gives is held by ``test_runner.py``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmpref.errors import UsageError
from mmpref.study import plan
from mmpref.study.bases import Start
from mmpref.study.plan_types import Plan
from mmpref.study.schedule import Schedule, Unit
from mmpref.study.targets import select
from tests.study.conftest import PLAN, WritePlan
from tests.study.pretended import pretend, run, schedule_of

BASES = {"seeds": [0, 1], "trained_by": "a:b"}


def test_all_rows_come_on_the_first_base_before_more_bases_and_seeds(write_plan: WritePlan) -> None:
    done = run(schedule_of(write_plan(seeds=2, bases=BASES)))
    assert done == [
        "base, base 0, seed 0",
        "base, base 0, seed 0 (grid)",
        "the pairs 'pairs' on base 0",
        "the adapter of row 'bdhs', base 0, seed 0",
        "bdhs, base 0, seed 0 trainer.learning_rate=0.001 (grid)",
        "the adapter of row 'bdhs', base 0, seed 0",
        "bdhs, base 0, seed 0 trainer.learning_rate=0.01 (grid)",
        "bdhs, base 0, seed 0",  # by the adapter of the point that was chosen
        "the adapter of row 'fewer', base 0, seed 0",
        "fewer, base 0, seed 0",
        "the base of seed 1",
        "base, base 1, seed 0",
        "the pairs 'pairs' on base 1",
        "the adapter of row 'bdhs', base 1, seed 0",
        "bdhs, base 1, seed 0",
        "the adapter of row 'fewer', base 1, seed 0",
        "fewer, base 1, seed 0",
        "the adapter of row 'bdhs', base 0, seed 1",
        "bdhs, base 0, seed 1",
        "the adapter of row 'fewer', base 0, seed 1",
        "fewer, base 0, seed 1",
        "the adapter of row 'bdhs', base 1, seed 1",
        "bdhs, base 1, seed 1",
        "the adapter of row 'fewer', base 1, seed 1",
        "fewer, base 1, seed 1",
    ]


def test_the_grid_chooses_by_recall_and_rows_like_it_follow(write_plan: WritePlan) -> None:
    schedule = schedule_of(write_plan())
    run(schedule)
    runs = [one for one in schedule.measured() if not one.is_grid_point]
    assert {one.row: one.point.get("trainer.learning_rate") for one in runs} == {
        "base": None,
        "bdhs": 1e-3,
        "fewer": 1e-3,
    }
    assert len(schedule.measured()) == len(runs) + 3


def test_only_some_rows_bring_what_they_need(write_plan: WritePlan) -> None:
    done = run(schedule_of(write_plan(), "few*"))
    assert done[-1] == "fewer, base 0, seed 0"
    assert not [line for line in done if line in ("base, base 0, seed 0", "bdhs, base 0, seed 0")]
    with pytest.raises(UsageError, match=r"no row 'bdsh'. Did you mean 'bdhs'"):
        select(plan.load(str(write_plan())), ["bdsh"])


def test_rows_of_the_same_settings_share_their_adapter(write_plan: WritePlan) -> None:
    rows = {**PLAN["rows"], "again": {"data": "pairs", "train": "dpo", "grid": "like bdhs"}}
    done = run(schedule_of(write_plan(rows=rows)))
    assert "again, base 0, seed 0" in done
    assert not [line for line in done if "adapter of row 'again'" in line]


@pytest.mark.parametrize("after", range(11))
def test_it_goes_on_from_wherever_it_was_left(write_plan: WritePlan, after: int) -> None:
    path = write_plan()
    first = run(schedule_of(path), after)
    second = run(schedule_of(path))
    assert [*first, *second] == run(schedule_of(_elsewhere(path)))
    assert run(schedule_of(path)) == []


def _elsewhere(path: Path) -> Path:
    other = path.parent / "other" / path.name
    other.parent.mkdir()
    other.write_text(path.read_text())
    return other


def test_measured_rows_are_not_run_again_where_only_the_ledger_is_left(write_plan: WritePlan) -> None:
    path = write_plan()
    schedule = schedule_of(path)
    run(schedule)
    (schedule.folder / "train").rename(path.parent / "lost")
    (schedule.folder / "data").rename(path.parent / "lost-too")
    again = schedule_of(path)
    assert (run(again), again.missing()) == ([], [])


def test_a_base_with_other_weights_than_the_ledger_has_measured_is_refused(write_plan: WritePlan) -> None:
    path = write_plan(bases=BASES)
    schedule = schedule_of(path)
    run(schedule)
    (name,) = schedule.ledger.bases()
    base = schedule.folder / "bases" / name
    assert base.is_dir()
    shutil.rmtree(schedule.ledger.folder / "bdhs")
    assert run(schedule_of(path)), "the same weights go on"
    shutil.rmtree(schedule.ledger.folder / "bdhs")
    (base / "model.safetensors").write_bytes(b"trained elsewhere")
    again = schedule_of(path)
    run(again)
    reasons = {failure.reason for failure in again.failures.values() if failure.base == 1}
    assert len(reasons) == 1
    assert "has other weights than the base that" in reasons.pop()
    assert not list((schedule.ledger.folder / "bdhs").glob("test-base1-*"))
    assert list((schedule.ledger.folder / "bdhs").glob("test-base0-*")), (
        "the recipe's own model is known by its content"
    )


def test_a_row_that_was_changed_is_measured_anew(write_plan: WritePlan) -> None:
    path = write_plan()
    run(schedule_of(path))
    rows = {**PLAN["rows"], "fewer": {**PLAN["rows"]["fewer"], "limit": 3}}
    assert run(schedule_of(write_plan(rows=rows))) == [
        "the adapter of row 'fewer', base 0, seed 0",
        "fewer, base 0, seed 0",
    ]


def test_what_the_plan_does_not_give_any_more_is_stale(write_plan: WritePlan) -> None:
    path = write_plan()
    run(schedule_of(path), until=6)  # in the midst of the grid
    assert schedule_of(path).ledger.read(path.parent / "study/ledger")
    assert not schedule_of(path).stale()
    run(schedule_of(path))
    assert not schedule_of(path).stale()
    rows = {**PLAN["rows"], "fewer": {**PLAN["rows"]["fewer"], "limit": 3}}
    assert [one.name for one in schedule_of(write_plan(rows=rows)).stale()] == ["fewer/test-base0-seed0"]
    fewer = {name: PLAN["rows"][name] for name in ("base", "bdhs")}
    assert [one.name for one in schedule_of(write_plan(rows=fewer)).stale()] == ["fewer/test-base0-seed0"]
    wider = {**PLAN["train"]["dpo"], "trainer": {**PLAN["train"]["dpo"]["trainer"], "max_steps": 3}}
    stale = {one.name for one in schedule_of(write_plan(train={"dpo": wider})).stale()}
    assert {name for name in stale if name.startswith("base")} == set()
    assert sum("-grid-" in name for name in stale) == 2


def test_another_folder_gives_the_same_hashes(write_plan: WritePlan, tmp_path: Path) -> None:
    made: Plan = plan.load(str(write_plan(bases=BASES)))
    hashes = []
    for folder in ("here", "there"):
        schedule = Schedule(made, tmp_path / folder, list(made.rows))
        grid = schedule.grid_jobs("bdhs")
        base = schedule.composer.base(Start(1))
        assert base
        hashes.append([base.hash, *(job.hashes["dev"] for job in grid), *(step.hash for step in grid[0].steps)])
    assert hashes[0] == hashes[1]


def test_whether_a_choice_kept_what_it_had_to_goes_by_the_rule_as_it_stands(write_plan: WritePlan) -> None:
    """The base recalls .9, the only point .5: the rule changes, and no run."""
    grid = {**PLAN["grid"], "search": {"trainer.learning_rate": [1e-2]}}
    for before, after in ((0.02, 0.5), (0.5, 0.02)):
        run(schedule_of(write_plan(grid={**grid, "within": before})))
        changed = schedule_of(write_plan(grid={**grid, "within": after}))
        assert run(changed) == []
        assert {one.row for one in changed.measured() if one.outside} == ({"bdhs", "fewer"} if after == 0.02 else set())


def test_several_processes_never_do_the_same(write_plan: WritePlan) -> None:
    schedule = schedule_of(write_plan(seeds=2))
    busy: list[Unit] = []
    done: list[str] = []
    while True:
        while len(busy) < 3 and (unit := schedule.next()):
            assert unit.key not in {one.key for one in busy}
            assert not unit.step or all(need.is_done for need in unit.step.needs)
            busy.append(unit)
        if not busy:
            break
        unit = busy.pop()
        done.append(unit.key)
        pretend(schedule, unit)
    assert len(done) == len(set(done))
    assert schedule.missing() == []


def test_rows_of_equal_settings_are_not_measured_at_the_same_time(write_plan: WritePlan) -> None:
    row = {"data": "pairs", "train": "dpo", "grid": "none"}
    schedule = schedule_of(write_plan(rows={"one": row, "same": row}))
    for _ in range(2):  # pairs, adapter
        unit = schedule.next()
        assert unit
        pretend(schedule, unit)
    first = schedule.next()
    assert first
    assert first.job
    assert schedule.next() is None, "both would write into one folder"
    pretend(schedule, first)
    assert run(schedule) == ["same, base 0, seed 0"]


def test_adapters_of_points_go_and_those_of_runs_stay(write_plan: WritePlan) -> None:
    schedule = schedule_of(write_plan())
    while unit := schedule.next():
        pretend(schedule, unit)
        if unit.job and unit.key == "bdhs, base 0, seed 0":
            chosen = unit.job
    assert chosen.training
    [leftover] = schedule.leftovers(chosen)
    assert leftover != chosen.training.folder
    assert leftover.is_dir()


def test_pairs_made_by_a_rows_adapter_take_what_its_grid_chose(write_plan: WritePlan) -> None:
    """The adapter of the base's own first seed, whatever the seed of the run; through a part of other pairs too."""
    data = {
        **PLAN["data"],
        "sifted": {"method": "iris", "builder": {"adapter": {"row": "bdhs"}}},
        "kept": {"method": "mix", "source": [{"data": "sifted"}]},
    }
    rows = {**PLAN["rows"], "iris": {"data": "kept", "train": "dpo", "grid": "none", "seeds": 2}}
    schedule = schedule_of(write_plan(rows=rows, data=data, bases=BASES), "iris")
    done = run(schedule)
    assert schedule.missing() == []
    last_point = "bdhs, base 0, seed 0 trainer.learning_rate=0.01 (grid)"
    assert done.index(last_point) < done.index("the pairs 'sifted' on base 0")
    jobs = [job for target in schedule.targets if (job := schedule.job(target))]
    assert len(jobs) == 4
    for job in jobs:
        needed = [step.call for step in job.steps if step.command == "train" and step is not job.training]
        assert [(call.options["seed"], call.set["trainer"]["learning_rate"]) for call in needed if call] == [(0, 1e-3)]
