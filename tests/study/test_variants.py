"""A row with ``each`` stands for one row of every combination."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.errors import UsageError
from mmpref.study import plan
from mmpref.study.variants import expand
from tests.study.conftest import PLAN, WritePlan

EACH = {"data.builder.visible_tokens": [0, 4], "data.builder.guidance": {"guided": True, "free": False}}


def test_every_combination_is_a_row_with_a_part_of_its_own() -> None:
    content = {
        "data": {"hidden": {"method": "bdhs", "builder": {"iterations": 2}}},
        "rows": {"base": {}, "seen": {"data": "hidden", "train": "dpo", "each": EACH}},
    }
    expanded = expand(content, "plan.yaml")
    assert list(expanded["rows"]) == ["base", "seen-0-guided", "seen-0-free", "seen-4-guided", "seen-4-free"]
    row = expanded["rows"]["seen-4-free"]
    assert (row["data"], row["train"], row["family"]) == ("seen-4-free", "dpo", "seen")
    assert row["levels"] == {"visible tokens": "4", "guidance": "free"}
    assert expanded["data"]["seen-4-free"] == {
        "method": "bdhs",
        "builder": {"iterations": 2, "visible_tokens": 4, "guidance": False},
    }
    assert content["data"] == {"hidden": {"method": "bdhs", "builder": {"iterations": 2}}}, "as it was"


def test_keys_of_the_row_itself_vary_too(write_plan: WritePlan) -> None:
    each = {"set.trainer.num_train_epochs": [1, 3], "limit": [50, 100]}
    row = {"data": "pairs", "train": "dpo", "set": {"loss.beta": 0.2}, "grid": "like bdhs", "each": each}
    made = plan.load(str(write_plan(rows={**PLAN["rows"], "long": row})))
    assert [name for name in made.rows if made.rows[name].family] == [
        "long-1-50",
        "long-1-100",
        "long-3-50",
        "long-3-100",
    ]
    last = made.rows["long-3-100"]
    assert (last.set, last.limit) == ({"loss.beta": 0.2, "trainer.num_train_epochs": 3}, 100)
    assert (last.data, last.grid_like) == ("pairs", "bdhs")
    assert last.levels == {"num train epochs": "3", "limit": "100"}


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ([], "it must be a mapping from settings to their values"),
        ({"data.builder.rho_th": 0.9}, "each.data.builder.rho_th is 0.9; it must be a list"),
        ({"train": [1]}, "names 'train', and the row's train is 'dpo'"),
        ({"lmit": [1, 2]}, "row 'x-1' has no setting 'lmit'"),
    ],
)
def test_what_is_wrong_is_named(write_plan: WritePlan, each: Any, said: str) -> None:
    path = write_plan(rows={**PLAN["rows"], "x": {"data": "pairs", "train": "dpo", "each": each}})
    with pytest.raises(UsageError) as error:
        plan.load(str(path))
    assert said in str(error.value)


def test_a_name_is_not_taken_twice(write_plan: WritePlan) -> None:
    row = {"data": "pairs", "train": "dpo", "each": {"limit": [1, 2]}}
    with pytest.raises(UsageError, match="two rows are called 'x-1'"):
        plan.load(str(write_plan(rows={**PLAN["rows"], "x": row, "x-1": {"data": "pairs", "train": "dpo"}})))
    parts = {**PLAN["data"], "x-1": {"method": "bdhs"}}
    path = write_plan(data=parts, rows={**PLAN["rows"], "x": {**row, "each": {"data.limit": [1, 2]}}})
    with pytest.raises(UsageError, match=r"data\.x-1 is there"):
        plan.load(str(path))
