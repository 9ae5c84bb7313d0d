"""The paper's tables as plans: every figure stands in its row, and every row is made of parts that resolve."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mmpref.errors import UsageError
from mmpref.study import plan as plans

FIGURES = Path(__file__).with_name("paper_figures.tsv")
"""The paper's figures by run, for LLaVA-1.6-7B: not made from the plans."""
ROWS = {
    "table2": {
        "baseline": "baseline",
        "dpo": "DPO POVID full",
        "online-dpo": "Online-DPO POVID",
        "mixed-dpo": "Mixed-DPO POVID",
        "reward-vlfeedback": None,
        "ppo": "PPO (RM VLFeedback)",
        "rloo": "RLOO (RM VLFeedback)",
    },
    "table3": {
        "baseline": "baseline",
        "povid": "DPO POVID 5k",
        "rlhf-v": "DPO RLHF-V 5k",
        "vlfeedback": "DPO VLFeedback 5k",
        "vlfeedback-80k": "DPO VLFeedback 80k",
        "llava-rlhf": None,
        "nlf": None,
    },
    "table5": {
        "baseline": "baseline",
        "povid": "DPO POVID 5k",
        "bdhs-povid": "DPO BDHS (POVID 5k)",
        "vlfeedback": "DPO VLFeedback 5k",
        "bdhs-vlfeedback": "DPO BDHS (VLFeedback 5k)",
    },
    "table6": {
        "baseline": "baseline",
        "distortion-averaged": "DPO POVID-style distortion + POVID 5k",
        "bdhs": "DPO BDHS (POVID 5k)",
        "online-bdhs": "DPO Online-BDHS (POVID 5k)",
        "online-bdhs-averaged": "DPO Online-BDHS averaged with POVID 5k",
        "noise": "BDHS noise N=500",
        "unguided": "attention masking, no guidance, 0.99",
    },
    "table8": {"baseline": "baseline", "any-chosen": "DPO VLFeedback 5k", "gpt4v-chosen": None, "llava-chosen": None},
    "table9": {
        "baseline": "baseline",
        "ranked": "DPO VLFeedback 5k",
        "corrupted": "DPO VLFeedbackCorrupted 5k",
    },
    "table11": {
        "baseline": "baseline",
        "all-prompts": "DPO VLFeedback 5k",
        "seen-prompts": None,
        "bdhs-all-prompts": "DPO BDHS (VLFeedback 5k)",
        "bdhs-seen-prompts": None,
    },
    "table12": {"baseline": "baseline", "dpo": "DPO POVID full", "ipo": "IPO POVID", "slic": "SLiC POVID"},
    "table15": {
        "baseline": "baseline",
        "rho-000": None,
        "rho-098": None,
        "rho-099": "DPO BDHS (POVID 5k)",
        "rho-100": None,
        "unguided-098": None,
        "unguided-099": "attention masking, no guidance, 0.99",
        "noise-100": None,
        "noise-200": None,
        "noise-300": None,
        "noise-400": None,
        "noise-500": "BDHS noise N=500",
    },
    "figure7": {
        "baseline": "baseline",
        "pairs-100": None,
        "pairs-500": None,
        "pairs-1000": None,
        "pairs-2000": None,
        "pairs-3000": None,
        "pairs-4000": None,
        "pairs-5000": "DPO POVID 5k",
    },
}
SCALES = (None, "paper")
NAMES = [*ROWS, "figure10"]


def _figures() -> dict[str, dict[str, float]]:
    with FIGURES.open(encoding="utf-8") as file:
        return {
            row.pop("run"): {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file, delimiter="\t")
        }


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", list(ROWS))
def test_figures_stand_in_their_rows(name: str, scale: str | None) -> None:
    known = _figures()
    plan = plans.load(name, scale)
    wanted = {row: known[run] if run else {} for row, run in ROWS[name].items()}
    assert {row.name: row.paper for row in plan.rows.values()} == wanted
    assert list(plan.columns) == list(known["baseline"])


BASELINES = {
    "13b": [86.23, 3.23, 3.18, 86.10, 65.70, 64.80, 48.26, 68.13],
    "34b": [87.73, 3.50, 3.46, 88.35, 69.50, 67.10, 53.90, 71.17],
}
"""The paper's figures of the other sizes, in the order of columns."""


@pytest.mark.parametrize("size", BASELINES)
@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_have_the_figures_of_their_baselines_only(name: str, size: str) -> None:
    small, plan = plans.load(name, "paper"), plans.load(name, size)
    assert list(plan.rows) == list(small.rows)
    assert (plan.recipe, plan.data) == (f"llava-1.6-{size}", small.data)
    wanted = dict(zip(plan.columns, BASELINES[size], strict=True)) if "baseline" in plan.rows else {}
    assert [row.paper for row in plan.rows.values()] == [wanted, *({} for _ in list(plan.rows)[1:])]


def test_the_figures_hold_what_tells_the_runs_apart() -> None:
    known = _figures()
    assert len(known) == 22
    assert known["baseline"]["POPE"] == 86.40
    assert known["RLOO (RM VLFeedback)"]["Recall_coco"] == 64.57
    assert len({tuple(row.values()) for row in known.values()}) == len(known), "no two rows are the same"


def test_a_row_that_names_a_run_says_the_same_one() -> None:
    """The note beside a figure is the run's name: so a figure that moved with its row is seen as well."""
    for name, rows in ROWS.items():
        for row in plans.load(name).rows.values():
            if row.note and rows[row.name]:
                assert rows[row.name] in row.note, (name, row.name)


def test_figure_10_has_what_the_text_says() -> None:
    rows = plans.load("figure10").rows
    assert all(row.builds_only for row in rows.values())
    assert {name: row.paper for name, row in rows.items() if row.paper} == {
        "rho-099": {"try 1": "> 74", "try 3": "near 93", "try 4": "> 90"},
        "rho-100": {"try 5": "near 93"},
        "noise-500": {"try 5": "> 99"},
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_is_said_on_the_testbed_alone(name: str) -> None:
    small, paper = plans.load(name), plans.load(name, "paper")
    assert all(row.stands_in for row in small.rows.values() if row.data)
    stands_in = {row.name: row.stands_in for row in paper.rows.values() if row.stands_in}
    assert list(stands_in) == (["ppo"] if name == "table2" else [])
    assert all("RLOO in the place of PPO" in text for text in stands_in.values())


def test_ranges_of_the_paper() -> None:
    grids = {name: row.grid for name, row in plans.load("table12", "paper").rows.items() if row.grid}
    assert grids["dpo"].search == {
        "trainer.learning_rate": [1e-7, 5e-7, 1e-6, 5e-6],
        "projector_learning_rate": [2e-5, 2e-6, 2e-7],
        "loss.beta": [0.05, 0.1, 0.2, 0.5],
        "trainer.num_train_epochs": [3, 5, 7],
        "trainer.gradient_accumulation_steps": [4, 8, 12],
    }
    assert grids["ipo"].search["loss.beta"] == [0.8, 0.9, 1.0]
    assert grids["slic"].search["loss.beta"] == [0.02, 0.1, 0.2]
    batches = [4 * steps for steps in grids["dpo"].search["trainer.gradient_accumulation_steps"]]
    assert batches == [16, 32, 48]


def test_sizes_of_figure_7() -> None:
    limits = [row.limit for row in plans.load("figure7", "paper").rows.values()]
    assert limits == [None, 100, 500, 1000, 2000, 3000, 4000, None]
    assert plans.load("figure7", "paper").data["povid"]["subsample"] == 5000


def test_all_plans_have_titles_that_say_which_they_are() -> None:
    assert set(NAMES) <= set(plans.names())
    for name in NAMES:
        kind = "Table" if name.startswith("table") else "Figure"
        number = name.removeprefix(kind.lower())
        assert plans.load(name).title.startswith(f"{kind} {number}: ")


def test_a_file_that_others_extend_is_no_plan() -> None:
    assert "_paper" not in plans.names()
    with pytest.raises(UsageError, match="no scale 'large'"):
        plans.load("table2", "large")
