"""Plans over plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.errors import InputError, UsageError
from mmpref.study import plan as plans
from mmpref.study.plan_file import find, over, read_extended

COMMON = """
data: {pairs: {method: corrupt, builder: {rho_th: 0.9}}}
train: {dpo: {method: dpo}}
evaluate: {test: {benchmarks: [chair]}}
"""
PLAN = """
extends: _common.yaml
train: {ipo: {method: ipo}}
rows:
  base: {paper: {POPE: 1}}
  arm: {data: pairs, train: ipo, stands_in: a test, paper: {POPE: 3}}
  built: {data: pairs}
scales:
  large: {data: {pairs: {method: povid, builder: null}}}
  larger: {extends: large, recipe: paper, rows: {base: {paper: {POPE: 2}}}}
  round: {extends: round}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "_common.yaml").write_text(COMMON)
    (tmp_path / "mine.yaml").write_text(PLAN)
    return tmp_path / "mine.yaml"


def test_over_takes_away_what_is_null() -> None:
    assert over({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": None}) == {"a": {"c": 2, "e": 4}}


def test_a_recipe_that_extends_another_is_no_plan(path: Path) -> None:
    (path.parent / "recipe.yaml").write_text("extends: paper\ntrain: {method: ipo}\n")
    (path.parent / "again.yaml").write_text("extends: recipe.yaml\n")
    (path.parent / "round.yaml").write_text("extends: round.yaml\n")
    (path.parent / "over.yaml").write_text("extends: mine.yaml\ntitle: another\n")
    assert [find(str(path.parent / f"{name}.yaml")) for name in ("recipe", "again", "round")] == [None] * 3
    assert find(str(path.parent / "over.yaml")) == path.parent / "over.yaml"


def test_a_plan_has_the_parts_of_the_one_that_it_extends(path: Path) -> None:
    plan = plans.load(str(path))
    assert list(plan.train) == ["dpo", "ipo"]
    assert plan.data["pairs"]["builder"] == {"rho_th": 0.9}
    assert plan.rows["arm"].stands_in == "a test"


def test_a_scale_takes_settings_away_and_says_anew_what_stands_in(path: Path) -> None:
    plan = plans.load(str(path), "large")
    assert plan.data["pairs"] == {"method": "povid"}
    assert plan.rows["arm"].stands_in == ""


def test_a_scale_over_another_has_figures_of_its_own_only(path: Path) -> None:
    large, larger = plans.load(str(path), "large"), plans.load(str(path), "larger")
    assert [row.paper for row in large.rows.values()] == [{"POPE": 1}, {"POPE": 3}, {}]
    assert [row.paper for row in larger.rows.values()] == [{"POPE": 2}, {}, {}]
    assert larger.data["pairs"] == {"method": "povid"}
    assert (larger.recipe, larger.rows["arm"].stands_in) == ("paper", "")
    with pytest.raises(UsageError, match="no scale 'round'"):
        plans.load(str(path), "round")


def test_a_row_may_build_only(path: Path) -> None:
    row = plans.load(str(path)).rows["built"]
    assert row.builds_only
    assert row.evaluate == ()


def test_a_row_that_trains_needs_data(path: Path) -> None:
    path.write_text(PLAN.replace("arm: {data: pairs, ", "arm: {"))
    with pytest.raises(UsageError, match="'arm' trains on no data"):
        plans.load(str(path))


def test_a_file_that_is_extended_must_be_there(path: Path) -> None:
    path.write_text(PLAN.replace("_common", "_other"))
    with pytest.raises(InputError, match="_other"):
        read_extended(path)


def test_a_plan_that_extends_itself_is_told(path: Path) -> None:
    path.write_text(PLAN.replace("_common.yaml", f"../{path.parent.name}/mine.yaml"))
    with pytest.raises(InputError, match="extends itself"):
        plans.load(str(path))


def test_a_plan_may_have_no_rows_but_those_of_the_one_that_it_extends(path: Path) -> None:
    smaller = path.with_name("smaller.yaml")
    smaller.write_text(f"extends: {path.name}\ntrain: {{ipo: {{trainer: {{max_steps: 1}}}}}}\n")
    assert find(str(smaller)) == smaller
    assert list(plans.load(str(smaller)).rows) == ["base", "arm", "built"]
    assert find(str(path.with_name("_common.yaml"))) is None


def test_a_plan_may_extend_one_by_name(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: controls\nseeds: 2\ntitle: Again\n")
    assert find(str(mine)) == mine
    made, controls = plans.load(str(mine)), plans.load("controls")
    assert (made.title, made.claims) == ("Again", controls.claims)
    assert {name: row.seeds for name, row in made.rows.items()} == {
        name: 2 if row.train else 1 for name, row in controls.rows.items()
    }
