"""The paper's figures beside ours."""

from __future__ import annotations

import dataclasses

from mmpref.run.results import Key
from mmpref.study import plan as plans
from mmpref.study.measurement import Measurement, MetricValue
from mmpref.study.paper_table import paper_table


def _measured(row: str, seed: int, f1: float, recall: float, **more: object) -> Measurement:
    values = (
        MetricValue(Key("pope", "mean_f1", "all"), f1, 100, True),
        MetricValue(Key("chair", "recall", "all"), recall, 100, True),
        MetricValue(Key("mmhal", "score@somebody/0a1b/t0/single", "all"), 3.125, 96, True),
    )
    return Measurement(row=row, split="test", base=0, seed=seed, values=values, **more)  # type: ignore[arg-type]


def test_ours_is_the_mean_over_runs_in_the_papers_units() -> None:
    plan = plans.load("table12")
    measured = [
        _measured("ipo", 0, 0.90, 0.70),
        _measured("ipo", 1, 0.92, 0.75),
        _measured("ipo", 0, 0.10, 0.10, is_grid_point=True),
        _measured("slic", 0, 0.5, 0.5),
    ]
    table = paper_table(plan, measured)
    lines = {
        (name or before[0], whose): cells
        for before, (name, whose, *cells) in zip([["", ""], *table.lines], table.lines, strict=False)
    }
    assert list(table.columns) == ["row", "", *plan.columns]
    assert lines["ipo", "paper"] == ["87.62", "3.11", "3.11", "82.34", "65.09", "64.47", "43.99", "69.81"]
    assert lines["ipo", "ours"] == ["91.00", "3.12", "–", "–", "–", "–", "–", "72.50"]
    assert set(lines["dpo", "ours"]) == {"–"}
    assert table.runs == {"ipo": 2, "slic": 1}


def test_a_column_is_of_one_evaluation() -> None:
    """Scenes of other kinds have other values: a mean over both would be of neither."""
    plan = plans.load("table12")
    plan = dataclasses.replace(plan, evaluate={"test": {}, "usual": {}})
    runs = [_measured("ipo", 0, 0.5, 0.75), dataclasses.replace(_measured("ipo", 0, 0.9, 0.25), split="usual")]
    runs += [dataclasses.replace(_measured("slic", 0, 0.9, 0.25), split="usual")]
    by_default = paper_table(plan, reversed(runs), ["ipo", "slic"])
    assert (by_default.lines[1][2], by_default.lines[1][-1]) == ("50.00", "75.00")
    assert set(by_default.lines[3][2:]) == {"–"}, "one column, one evaluation"
    recall = dataclasses.replace(plan.columns["Recall_coco"], split="usual")
    named = dataclasses.replace(plan, columns={**plan.columns, "Recall_coco": recall})
    lines = paper_table(named, runs, ["ipo", "slic"]).lines
    assert (lines[1][2], lines[1][-1], lines[3][-1]) == ("50.00", "25.00", "25.00")


def test_some_rows_only_with_the_columns_that_they_have() -> None:
    table = paper_table(plans.load("figure10"), [_pairs("rho-099", 0.8125)], ["rho-000", "rho-099"])
    assert table.columns == ["row", "", "try 1", "try 3", "try 4"]
    assert table.lines == [
        ["rho-000", "paper", "–", "–", "–"],
        ["", "ours", "–", "–", "–"],
        ["rho-099", "paper", "> 74", "near 93", "> 90"],
        ["", "ours", "81.2", "–", "–"],
    ]


def _pairs(row: str, share: float) -> Measurement:
    return Measurement(row=row, split="pairs", base=0, seed=0, data={"resolved_1": share})


def test_a_page_says_what_stands_in() -> None:
    page = paper_table(plans.load("table2"), [_measured("rloo", 0, 0.9, 0.7)], ["ppo", "rloo"]).markdown()
    assert page.splitlines()[0] == "# Table 2: offline, online and mixed DPO, and RLHF"
    assert "| ppo | paper | 87.54 | 3.02 | 3.09 | 80.17 | 63.90 | 64.04 | 40.51 | 67.19 |" in page
    assert "| | ours | 90.00 |" in page
    assert "Ours is the mean of 1 run a row." in page
    assert "Ours were judged by somebody/0a1b/t0/single." in page
    assert "* ppo: RLOO in the place of PPO, which mmpref does not have." in page


def test_a_page_says_where_figures_are_from() -> None:
    page = paper_table(plans.load("rivals", "paper"), [], ["base", "sentinel"]).markdown()
    assert "| sentinel | paper | 4.3 (S) | 2.6 (S) | 2.9 (S) |" in page
    assert "(S) arXiv 2507.12455, table 1" in page
