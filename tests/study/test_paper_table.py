"""The paper's figures beside ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mmpref.run.results import Key
from mmpref.study import plan as plans
from mmpref.study.effects import Effects
from mmpref.study.measurement import ImageCounts, Measurement, MetricValue
from mmpref.study.paper_table import PaperTable
from mmpref.study.paper_table import paper_table as table_of
from mmpref.study.plan_types import Plan

JUDGED = "score@somebody/0a1b/t0/single"


def paper_table(plan: Plan, measured: Sequence[Measurement], rows: Sequence[str] = ()) -> PaperTable:
    return table_of(Effects(plan, measured), rows)


def _measured(row: str, seed: int, f1: float, recall: float, *, base: int = 0, **more: object) -> Measurement:
    """On two images: as many right answers of yes, false ones of yes and found objects as make these."""
    shares = {
        "pope": {
            f"{part}/{name}": count
            for part in ("adversarial", "popular", "random", "all")
            for name, count in (("tp", 100 * f1), ("fp", 200 - 200 * f1), ("fn", 0), ("n", 400))
        },
        "chair": {"found": 100 * recall, "objects": 100},
        "mmhal": {"all/score": 25, "all/n": 8},
    }
    values = (
        MetricValue(Key("pope", "mean_f1", "all"), f1, 100, True),
        MetricValue(Key("pope", "f1", "adversarial"), f1, 100, True),
        MetricValue(Key("chair", "recall", "all"), recall, 100, True),
        MetricValue(Key("mmhal", JUDGED, "all"), 3.125, 96, True),
    )
    counts = {name: _counts(of) for name, of in shares.items()}
    one = Measurement(row=row, split="test", base=base, seed=seed, values=values, counts=counts)
    return dataclasses.replace(one, **more)  # type: ignore[arg-type]


def _counts(counts: Mapping[str, float], images: str = "two") -> ImageCounts:
    return ImageCounts(images, tuple(sorted(counts)), np.array([[counts[name] for name in sorted(counts)]] * 2))


def _lines(table: PaperTable) -> dict[tuple[str, str], list[str]]:
    """By row and whose figures they are, without what these are over."""
    found, row = {}, ""
    for name, whose, *cells in table.lines:
        row = name or row
        found[row, whose.partition(",")[0]] = cells
    return found


def test_ours_is_the_mean_over_runs_in_the_papers_units() -> None:
    plan = plans.load("table12")
    measured = [
        _measured("ipo", 0, 0.90, 0.70),
        _measured("ipo", 1, 0.92, 0.75),
        _measured("ipo", 0, 0.10, 0.10, is_grid_point=True),
        _measured("slic", 0, 0.5, 0.5),
    ]
    table = paper_table(plan, measured)
    lines = _lines(table)
    assert list(table.columns) == ["row", "", *plan.columns]
    assert lines["ipo", "paper"] == ["87.62", "3.11", "3.11", "82.34", "65.09", "64.47", "43.99", "69.81"]
    assert lines["ipo", "ours"] == ["91.00", "3.12", "–", "–", "–", "–", "–", "72.50"]
    assert set(lines["dpo", "ours"]) == {"–"}
    assert table.over == {"ipo": "1 base x 2 seeds", "slic": "1 base x 1 seed"}
    assert ["", "ours, 1 base x 2 seeds"] in [list(line[:2]) for line in table.lines]


def test_a_row_on_fewer_bases_stands_beside_its_base_on_these() -> None:
    """Bases lie further apart than rows: a mean over seven of them and one over the first do not compare."""
    runs = [_measured("baseline", 0, 0.9 - 0.1 * base, 0.8 - 0.1 * base, base=base) for base in range(3)]
    runs += [_measured("ipo", seed, 0.89 - 0.1 * base, 0.7, base=base) for base in range(3) for seed in range(1 + base)]
    runs += [_measured("slic", 0, 0.89, 0.79)]
    table = paper_table(plans.load("table12"), runs, ["baseline", "ipo", "slic"])
    lines = _lines(table)
    assert [lines[row, "ours"][::7] for row in ("baseline", "ipo", "slic")] == [
        ["80.00", "70.00"],
        ["79.00", "70.00"],
        ["89.00", "79.00"],
    ], "of a base the mean of its seeds, then the mean over bases"
    assert lines["slic", "its base on these"] == ["90.00", "3.12", "–", "–", "–", "–", "–", "80.00"]
    assert ("ipo", "its base on these") not in lines
    assert table.over == {
        "baseline": "3 bases x 1 seed",
        "ipo": "3 bases x 1 to 3 seeds",
        "slic": "1 base x 1 seed",
    }
    assert "A row on other bases than its base compares with the line 'its base on these' alone." in table.markdown()


def test_ours_are_what_the_other_tables_have() -> None:
    """Without the runs that these leave out, and of a column's evaluation alone."""
    plan = dataclasses.replace(plans.load("table12"), evaluate={"test": {}, "usual": {}})
    runs = [_measured("ipo", seed, 0.9, 0.75) for seed in range(2)]
    other = _measured("ipo", 2, 0.5, 0.25)
    images = {name: dataclasses.replace(of, images="others") for name, of in other.counts.items()}
    usual = dataclasses.replace(_measured("ipo", 0, 0.5, 0.25, base=1), split="usual")
    table = paper_table(plan, [*runs, dataclasses.replace(other, counts=images), usual], ["ipo"])
    assert _lines(table)["ipo", "ours"][::7] == ["90.00", "75.00"]
    assert table.over == {"ipo": "1 base x 2 seeds"}


def test_a_column_is_of_one_evaluation() -> None:
    """Scenes of other kinds have other values: a mean over both would be of neither."""
    plan = plans.load("table12")
    plan = dataclasses.replace(plan, evaluate={"test": {}, "usual": {}})
    runs = [_measured("ipo", 0, 0.5, 0.75), dataclasses.replace(_measured("ipo", 0, 0.9, 0.25), split="usual")]
    runs += [dataclasses.replace(_measured("slic", 0, 0.9, 0.25), split="usual")]
    by_default = paper_table(plan, runs[::-1], ["ipo", "slic"])
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
        ["", "ours, 1 base", "81.2", "–", "–"],
    ]


def _pairs(row: str, share: float) -> Measurement:
    return Measurement(row=row, split="pairs", base=0, seed=0, data={"resolved_1": share})


def test_a_page_says_what_stands_in() -> None:
    page = paper_table(plans.load("table2"), [_measured("rloo", 0, 0.9, 0.7)], ["ppo", "rloo"]).markdown()
    assert page.splitlines()[0] == "# Table 2: offline, online and mixed DPO, and RLHF"
    assert "| ppo | paper | 87.54 | 3.02 | 3.09 | 80.17 | 63.90 | 64.04 | 40.51 | 67.19 |" in page
    assert "| | ours, 1 base x 1 seed | 90.00 |" in page
    assert "Ours is the mean over the bases that are counted there, of each the mean over its seeds." in page
    assert "its base on these" not in page
    assert "Ours were judged by somebody/0a1b/t0/single." in page
    assert "* ppo: RLOO in the place of PPO, which mmpref does not have." in page


def test_a_page_says_where_figures_are_from() -> None:
    page = paper_table(plans.load("rivals", "paper"), [], ["base", "sentinel"]).markdown()
    assert "| sentinel | paper | 4.3 (S) | 2.6 (S) | 2.9 (S) |" in page
    assert "(S) arXiv 2507.12455, table 1" in page
