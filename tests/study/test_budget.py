"""Hours and needs of commands, from their recipes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mmpref.api.options import build_recipe, evaluate_recipe, train_recipe
from mmpref.study import estimate
from mmpref.study import plan as plans
from mmpref.study.budget import budget
from mmpref.study.requirements import Requirement, of_build, of_evaluate, of_train

RECIPE = "llava-1.6-7b"
FORWARD = 2 * 7e9 * 3000 / (800e12 * 0.4) / 3600


def test_sizes_are_those_that_names_say() -> None:
    assert estimate.parameters("llava-hf/llava-v1.6-vicuna-7b-hf") == 7e9
    assert estimate.parameters("llava-hf/llava-v1.6-34b-hf") == 34e9
    assert estimate.parameters("me/tiny-0.5b") == 0.5e9
    assert math.isnan(estimate.parameters("pkg:mmpref.testbed/model"))


def test_accelerators_hold_the_weights() -> None:
    assert estimate.accelerators(["me/vlm-7b"]) == 1
    assert estimate.accelerators(["me/vlm-7b", "me/vlm-34b"]) == 2


def test_hours_of_a_training_are_forwards() -> None:
    dpo = train_recipe(recipe=RECIPE, dataset=("pairs",), method="dpo")
    assert estimate.train_hours(dpo, 5000) == pytest.approx((3 * 3 * 5000 + 5000) * FORWARD)
    longer = train_recipe(recipe=RECIPE, dataset=("pairs",), method="dpo", set={"trainer.num_train_epochs": 7})
    assert estimate.train_hours(longer, 5000) == pytest.approx((3 * 7 * 5000 + 5000) * FORWARD)
    reward = train_recipe(recipe=RECIPE, dataset=("pairs",), method="reward-model")
    assert estimate.train_hours(reward, 10) == pytest.approx(4000 * 32 * 3 * FORWARD)


def test_an_annotator_costs_its_own_size() -> None:
    online = train_recipe(recipe=RECIPE, dataset=("pairs",), method="online-dpo")
    mixed = train_recipe(recipe=RECIPE, dataset=("pairs",), method="mixed-dpo")
    sampled = (2 + 2 * 34 / 7) * FORWARD
    assert estimate.train_hours(online, 100) == pytest.approx(300 * (4 * FORWARD + sampled))
    assert estimate.train_hours(mixed, 100) == pytest.approx(300 * (4 * FORWARD + sampled / 2))


def test_hours_of_a_build() -> None:
    hidden = build_recipe(recipe=RECIPE, source=("rows",))
    seen = build_recipe(recipe=RECIPE, source=("rows",), rho_th=0.0)
    published = build_recipe(recipe=RECIPE, method="povid")
    ranked = build_recipe(recipe=RECIPE, method="candidates", source=("rows",), annotator="me/judge")
    mismatched = build_recipe(recipe=RECIPE, method="mismatched", source=("rows",))
    assert estimate.build_hours(ranked, 100) == pytest.approx(400 * FORWARD), "four answers where nobody says how many"
    assert estimate.build_hours(mismatched, 100) == 0
    assert estimate.build_hours(hidden, 306_000) == pytest.approx(1 / 0.4)
    assert estimate.build_hours(seen, 100) == pytest.approx(200 * FORWARD)
    assert estimate.build_hours(published, 17_184) == 0


def test_hours_of_an_evaluation_are_of_the_questions_that_are_asked() -> None:
    asked = evaluate_recipe(recipe=RECIPE, benchmarks=("pope", "llava-wild"), judge="me")
    assert estimate.evaluate_hours(asked) == pytest.approx(9060 * FORWARD)
    fewer = evaluate_recipe(recipe=RECIPE, benchmarks=("pope", "llava-wild"), judge="me", limit=100)
    assert estimate.evaluate_hours(fewer) == pytest.approx(160 * FORWARD)


def test_needs_from_outside() -> None:
    povid = build_recipe(recipe=RECIPE, method="povid")
    assert of_build(povid) == {
        Requirement("dataset", "YiyangAiLab/POVID_preference_data_for_VLLMs"),
        Requirement("file", "coco/train2014"),
    }
    corrupt = build_recipe(recipe=RECIPE, method="corrupt", source=("runs/a/data/b",))
    assert {one.kind for one in of_build(corrupt)} == {"model", "endpoint"}, "similarity model and rewriter"
    online = train_recipe(recipe=RECIPE, dataset=("runs/a/data/b",), method="online-bdhs")
    assert {one.name for one in of_train(online)} == {
        "llava-hf/llava-v1.6-vicuna-7b-hf",
        "sentence-transformers/all-mpnet-base-v2",
    }
    rewarded = train_recipe(recipe=RECIPE, dataset=("runs/a/data/b",), method="rloo", set={"loss.reward": "me/rewards"})
    assert {one.name for one in of_train(rewarded)} == {"llava-hf/llava-v1.6-vicuna-7b-hf", "me/rewards"}
    held_out = {"loss.held_out": ["me/pairs:test", "runs/a/data/b:validation"]}
    ranked = train_recipe(recipe=RECIPE, dataset=("runs/a/data/b",), method="reward-model", set=held_out)
    assert Requirement("dataset", "me/pairs") in of_train(ranked)
    wants = of_evaluate(evaluate_recipe(recipe=RECIPE))
    assert Requirement("file", "coco/synonyms.txt") in wants
    assert Requirement("dataset", "tsunghanwu/mscoco_chair") in wants
    assert sum(one.kind == "dataset" for one in wants) == 7, "eight benchmarks, MMHal's rows serve two"
    assert of_evaluate(evaluate_recipe(recipe=RECIPE, benchmark=["pope"])) == {
        Requirement("model", "llava-hf/llava-v1.6-vicuna-7b-hf"),
        Requirement("dataset", "lmms-lab-encoder/POPE"),
    }, "nobody is asked to judge"


def test_the_testbed_needs_nothing_from_outside() -> None:
    assert of_build(build_recipe(recipe="testbed")) == set()
    assert of_train(train_recipe(recipe="testbed", dataset=("runs/a/data/b",))) == set()
    assert of_evaluate(evaluate_recipe(recipe="testbed", judge="testbed-oracle")) == set()


def test_a_known_size_is_told() -> None:
    assert Requirement("dataset", "MMInstruction/VLFeedback").gigabytes == 4.0
    assert Requirement("dataset", "openbmb/RLHF-V-Dataset").gigabytes is None


def test_a_grid_costs_all_of_its_points(tmp_path: Path) -> None:
    """Epochs alone change the hours: 3, 5 and 7, in equal parts of 432 points."""
    costs = budget(plans.load("table12", "paper"), tmp_path, ["dpo"])
    assert [(cost.work, cost.times) for cost in costs] == [
        ("build-dataset povid", 1),
        ("train dpo", 432),
        ("evaluate chair", 432),
        (f"evaluate {', '.join(['pope', 'mmhal', 'mmhal-v', 'llava-wild', 'textvqa', 'gqa', 'mmvet', 'chair'])}", 1),
    ]
    assert costs[1].hours == pytest.approx(432 * (3 * 5 + 1) * 17_184 * FORWARD)
    assert costs[3].hours == pytest.approx((9000 + 96 + 96 + 60 + 5000 + 12578 + 218 + 500) * FORWARD)


def test_what_rows_share_is_counted_once(tmp_path: Path) -> None:
    costs = budget(plans.load("figure10", "paper"), tmp_path, list(plans.load("figure10").rows))
    assert [cost.work for cost in costs] == ["build-dataset povid", *["build-dataset bdhs"] * 5]
    assert [cost.row for cost in costs][:2] == ["rho-000", "rho-000"]
    assert costs[3].hours == pytest.approx(5000 / (306_000 * 0.4))
