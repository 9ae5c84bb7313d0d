"""Plans in one folder: what is the same work is shared, and none replaces what another has measured."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmpref.errors import RunError
from mmpref.study import plan, runner
from mmpref.study.preview import preview
from mmpref.study.schedule import Schedule
from mmpref.study.sharing import keep_plan, refuse_others
from tests.study.conftest import PLAN
from tests.study.pretended import run

OTHER_TEST = {**PLAN["evaluate"], "test": {"benchmarks": ["chair"], "limit": 9}}
OTHER_DEV = {**PLAN["evaluate"], "dev": {"benchmarks": ["chair"], "split": "dev", "limit": 7}}


def _begun(folder: Path, name: str, **changes: Any) -> Schedule:
    """Of a plan in a folder of its own, when its session begins."""
    path = folder / name / "plan.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**copy.deepcopy(PLAN), **changes}, sort_keys=False))
    made = plan.load(str(path))
    schedule = Schedule(made, folder / "study", list(made.rows))
    refuse_others(schedule)
    keep_plan(schedule)
    return schedule


@pytest.mark.parametrize("until", [2, 1000])
def test_a_plan_that_would_replace_what_another_has_measured_is_refused(tmp_path: Path, until: int) -> None:
    run(_begun(tmp_path, "food"), until)
    with pytest.raises(RunError, match=r"has rows that the plan .*food/plan\.yaml .* \(base\b") as error:
        _begun(tmp_path, "cars", evaluate={**OTHER_TEST, "dev": OTHER_DEV["dev"]})
    assert "--output" in error.value.hint
    assert bool(run(_begun(tmp_path, "food"), 1)) == (until == 2), "the first goes on"


def test_the_dry_run_and_the_run_itself_refuse_it(tmp_path: Path) -> None:
    run(_begun(tmp_path, "food"))
    (tmp_path / "cars").mkdir()
    path = tmp_path / "cars/plan.yaml"
    path.write_text(yaml.safe_dump({**copy.deepcopy(PLAN), "evaluate": OTHER_TEST}, sort_keys=False))
    with pytest.raises(RunError, match="has rows that the plan"):
        runner.run(plan.load(str(path)), tmp_path / "study", minutes=0)
    with pytest.raises(RunError, match="has rows that the plan"):
        preview(plan.load(str(path)), tmp_path / "study")


def test_the_points_of_its_grid_are_not_replaced_either(tmp_path: Path) -> None:
    run(_begun(tmp_path, "food"), until=7)  # no run of a row with a grid yet
    with pytest.raises(RunError, match="has rows that the plan"):
        _begun(tmp_path, "cars", evaluate=OTHER_DEV)


def test_rows_of_the_same_settings_are_shared(tmp_path: Path) -> None:
    more = {**PLAN["rows"], "least": {"data": "pairs", "train": "dpo", "limit": 2, "grid": "like bdhs"}}
    run(_begun(tmp_path, "food", seeds=2))
    assert {line.split(",")[0] for line in run(_begun(tmp_path, "cars", rows=more))} == {
        "the adapter of row 'least'",
        "least",
    }


def test_a_plan_that_was_changed_goes_on_in_its_folder(tmp_path: Path) -> None:
    run(_begun(tmp_path, "food"))
    assert run(_begun(tmp_path, "food", evaluate=OTHER_TEST))


def test_two_scales_of_a_plan_are_two_plans(tmp_path: Path) -> None:
    scales = {"small": {"evaluate": {"test": {"limit": 4}}}}
    run(_begun(tmp_path, "food", scales=scales))
    path = tmp_path / "food/plan.yaml"
    with pytest.raises(RunError, match=r"has rows that the plan .*food/plan\.yaml"):
        runner.run(plan.load(str(path), "small"), tmp_path / "study", minutes=0)


def test_a_plan_that_is_gone_or_was_moved_holds_nobody_up(tmp_path: Path) -> None:
    run(_begun(tmp_path, "food"))
    shutil.rmtree(tmp_path / "food")
    assert run(_begun(tmp_path, "cars", evaluate=OTHER_TEST))
