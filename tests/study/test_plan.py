"""Plans: what a file means, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import InputError, UsageError
from mmpref.study import plan, plan_file
from tests.study.conftest import PLAN, WritePlan
from tests.study.ledgers import claim

ROWS = PLAN["rows"]


def test_a_row_takes_from_the_plan_what_it_does_not_say(write_plan: WritePlan) -> None:
    made = plan.load(str(write_plan(seeds=3, bases={"seeds": [0, 1], "trained_by": "a:b"})))
    bdhs = made.rows["bdhs"]
    assert (bdhs.seeds, bdhs.bases, bdhs.evaluate) == (3, (0, 1), ("test",))
    assert bdhs.grid
    assert bdhs.grid.search == {"trainer.learning_rate": [1e-3, 1e-2]}
    assert (made.rows["base"].seeds, made.rows["base"].grid) == (1, None)
    assert (made.rows["fewer"].grid, made.rows["fewer"].grid_like) == (None, "bdhs")
    assert made.base_row == made.rows["base"]


def test_a_rows_own_grid_is_merged_over_the_plans(write_plan: WritePlan) -> None:
    row = {**ROWS["bdhs"], "grid": {"search": {"loss.beta": [0.1, 0.2]}, "within": 0.1}}
    grid = plan.load(str(write_plan(rows={"base": {}, "bdhs": row}))).rows["bdhs"].grid
    assert grid
    assert list(grid.search) == ["trainer.learning_rate", "loss.beta"]
    assert (grid.within, grid.best) == (0.1, "chair chair_i")


def test_a_scale_is_merged_over_the_plan(write_plan: WritePlan) -> None:
    path = str(write_plan(scales={"paper": {"recipe": "paper", "rows": {"bdhs": {"limit": 7}}}}))
    assert plan.load(path).recipe == "testbed"
    paper = plan.load(path, "paper")
    assert (paper.recipe, paper.rows["bdhs"].limit, paper.rows["bdhs"].data) == ("paper", 7, "pairs")
    with pytest.raises(UsageError, match="no scale 'papr'"):
        plan.load(path, "papr")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rowz": {}}, "has no setting 'rowz'. Did you mean 'rows'"),
        ({"rows": {"bdhs": {"dta": "pairs"}}}, "row 'bdhs' has no setting 'dta'. Did you mean 'data'"),
        ({"rows": {**ROWS, "x": {"data": "pears", "train": "dpo"}}}, "row 'x' names the part of data 'pears'. Did you"),
        ({"rows": {**ROWS, "x": {"data": "pairs", "train": "dop"}}}, "row 'x' names the part of train 'dop'"),
        ({"rows": {**ROWS, "x": {"train": "dpo"}}}, "row 'x'"),
        ({"rows": {**ROWS, "x": {"data": "pairs", "train": "dpo", "grid": "like y"}}}, "row 'x' names the row 'y'"),
        ({"rows": {**ROWS, "x": {"data": "pairs", "train": "dpo", "grid": "like base"}}}, "which makes none"),
        ({"rows": {**ROWS, "x": {"data": "pairs", "train": "dpo", "grid": "off"}}}, "row 'x'.grid is 'off'"),
        ({"rows": {**ROWS, "x": {"evaluate": ["tst"]}}}, "row 'x' names the evaluation 'tst'"),
        ({"rows": {**ROWS, "x": {"bases": [4]}}}, "row 'x' names the base 4"),
        ({"rows": {"bdhs": ROWS["bdhs"]}}, "the grid of row 'bdhs' compares with the base, which is in no row"),
        ({"bases": [0, 1]}, "nothing that trains them"),
        ({"grid": {**PLAN["grid"], "search": {"trainer.learning_rate": 1}}}, "row 'bdhs'.grid.search.trainer.learning"),
        ({"data": {"pairs": {"source": [{"data": "pairs"}]}}}, "a part cannot be made of itself"),
        (
            {"claims": [claim("1", {"row": "bdhs", "direction": "lower", "split": "dev"})]},
            "a claim is about row 'bdhs' on 'dev', where it is not evaluated",
        ),
        ({"kl": {"split": "dve"}}, "kl is on 100 prompts of 'dve'"),
        ({"show": ["chair"]}, "'chair', of show or columns, is no metric"),
        ({"columns": {"C": {"metric": "chair recall", "split": "tst"}}}, "columns.C names the evaluation 'tst'"),
        (
            {"columns": {"C": {"metric": "chair recall"}}, "rows": {**ROWS, "x": {"paper": {"D": 1.5}}}},
            "row 'x' has the paper's D, which is no column",
        ),
        (
            {"rows": {**ROWS, "x": {**ROWS["bdhs"], "set": {"trainer.learning_rate": 1}}}},
            "row 'x' sets trainer.learning_rate, which a grid chooses for it",
        ),
        (
            {"rows": {**ROWS, "x": {**ROWS["bdhs"], "grid": "like bdhs", "set": {"trainer": {"learning_rate": 1}}}}},
            "row 'x' sets trainer.learning_rate, which a grid chooses for it",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_row_and_key(
    write_plan: WritePlan, changes: dict[str, Any], said: str
) -> None:
    path = write_plan(**changes)
    with pytest.raises(UsageError) as error:
        plan.load(str(path))
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_recipe_and_a_missing_file_are_no_plans(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("train: {method: dpo}\n")
    assert plan_file.find(str(tmp_path / "recipe.yaml")) is None
    with pytest.raises(UsageError, match="no study 'nothing'"):
        plan.load("nothing")
    (tmp_path / "broken.yaml").write_text("rows: [\n")
    with pytest.raises(InputError, match="is not YAML"):
        plan.load(str(tmp_path / "broken.yaml"))
