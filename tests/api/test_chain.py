"""The steps that a recipe of rounds comes to, before any work: their recipes, and what cannot be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import mmpref
from mmpref.api import rounds
from mmpref.api.chain import Chain, chain_of
from mmpref.api.rounds import check_chain
from mmpref.errors import MmprefError, UsageError
from mmpref.run.asked import Asked
from mmpref.run.rounds import reported_on
from mmpref.tables.open import open_table
from tests.api.chains import SECTIONS, written


def test_questions_that_choose_and_are_reported_on_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"image": base64.b64encode(row["image"]["bytes"]).decode(), "objects": ["cup"]}
        for _, row in zip(range(8), open_table("testbed-chair", "test"), strict=False)
    ]
    for split, of in (("validation", rows[:5]), ("test", rows[3:])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of))
    settings = {**SECTIONS["evaluate"]["benchmark"]["chair"], "data": str(tmp_path)}
    file = written(tmp_path, evaluate={**SECTIONS["evaluate"], "benchmark": {"chair": settings}})
    chain = chain_of(str(file), {"split": "validation"}, {})
    assert rounds.shared_questions(chain) == {"chair": 2}
    assert "2 of the 5 questions of chair, which is reported on in the end, are among those that choose" in caplog.text
    asked = Asked("chair", "chair", data={"id": "rows", "split": "test"}, questions=5)
    facts = {"reported_on": {"chair": asked.as_dict()}, "shared_questions": {"chair": 2}}
    assert reported_on(facts) == (
        "rows:test; of its questions 2 of the 5 of chair chose the round too, and look better than they are"
    )


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"iterate": None}, {}, "does not say which metric"),
        ({"train": None}, {}, "no section 'train'"),
        ({}, {"split": "test"}, "chosen by chair on the split 'test', which chair reports on too"),
        ({}, {"metric": "pope/accuracy"}, "no round is evaluated on 'pope'"),
        ({}, {"metric": "chair/chair_j"}, "No benchmark here has the metric"),
        ({}, {"rounds": 0}, r"iterate\.rounds is 0"),
        ({}, {"max_kl": 0.1, "kl_prompts": 0}, "needs prompts to measure it on"),
        ({}, {"set": {"trainer.max_steps": 2}}, "no setting 'trainer'"),
        ({}, {"set": {"train.split": "validation"}}, "will have no split 'validation'"),
        ({}, {"set": {"train.tuning": "full"}}, "no adapter goes on"),
        ({}, {"set": {"train.method": "reward-model"}}, "an adapter of its own"),
        ({}, {"set": {"build-dataset.limit": None}}, "nothing says how many"),
        ({}, {"set": {"build-dataset.model": None}}, "build-dataset: The .* lacks the setting 'model' .* with `model`"),
        ({}, {"set": {"build-dataset.model": "me/other"}}, "A chain has one model, and here are"),
        ({}, {"set": {"build-dataset": {"method": "candidates", "model": "http://x/v1#m"}}}, "is behind a server"),
        ({}, {"set": {"train.trainer.no_such": 1}}, "no_such"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    changes: dict[str, Any], options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(MmprefError, match=told):
        mmpref.iterate(written(tmp_path, **changes), **options, output=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def planned(folder: Path, number: int, options: dict[str, Any], overrides: dict[str, Any]) -> tuple[Chain, list[Any]]:
    chain = chain_of(str(written(folder)), options, overrides)
    return chain, [call.resolved() for call in chain.calls(number, Path("out"))]


def test_the_same_rows_come_with_other_seeds_and_settings_reach_their_steps(tmp_path: Path) -> None:
    overrides = {"train.trainer.max_steps": 7, "build-dataset.seed": 5, "evaluate.split": "test"}
    _, (build, train, dev) = planned(tmp_path, 3, {"rows": "same"}, overrides)
    assert (build.skip, build.limit, build.seed, build.adapter) == (None, 12, 7, "out/round-2/train")
    assert (train.trainer["max_steps"], train.seed, train.adapter) == (7, 2, "out/round-2/train")
    assert train.dataset == ("out/round-3/build-dataset",)
    assert (dev.split, dev.adapter) == ("dev", "out/round-3/train")
    _, (build, train, _) = planned(tmp_path, 2, {"seed": 10, "limit": 4}, {"build-dataset.skip": 100})
    assert (build.skip, build.limit, build.seed, train.seed) == (104, 4, 11, 11)


def test_a_chain_may_begin_with_an_adapter_and_a_method_with_its_own_is_given_the_policy(tmp_path: Path) -> None:
    _, (build, train, _) = planned(tmp_path, 1, {}, {"train.adapter": "me/first"})
    assert build.adapter == train.adapter == "me/first"
    own = {"build-dataset.method": "iris", "build-dataset.builder": {"adapter": "me/first"}}
    for number, adapter in ((1, "me/first"), (2, "out/round-1/train")):
        _, (build, _, _) = planned(tmp_path, number, {}, own)
        assert (build.builder["adapter"], build.adapter) == (adapter, None)


def test_a_start_is_evaluated_on_the_data_that_choose(tmp_path: Path) -> None:
    chain, _ = planned(tmp_path, 1, {}, {"train.adapter": "me/first", "train.adapter_revision": "v1"})
    start = chain.start()
    assert start is not None
    recipe = start.resolved()
    assert (recipe.adapter, recipe.adapter_revision, recipe.split) == ("me/first", "v1", "dev")
    chain, _ = planned(tmp_path, 1, {}, {"train.adapter": "me/first", "evaluate.adapter_revision": "other"})
    assert chain.start().resolved().adapter_revision is None  # type: ignore[union-attr]
    assert planned(tmp_path, 1, {}, {})[0].start() is None


def test_a_method_that_no_model_writes_for_builds_without_an_adapter(tmp_path: Path) -> None:
    _, (build, train, _) = planned(tmp_path, 2, {}, {"build-dataset.method": "mismatched"})
    assert (build.adapter, build.skip, train.adapter) == (None, 12, "out/round-1/train")


def test_a_judge_chooses_no_round(tmp_path: Path) -> None:
    mmhal = {
        "benchmarks": ["chair", "mmhal"],
        "benchmark": {**SECTIONS["evaluate"]["benchmark"], "mmhal": {"data": "testbed-mmhal", "split": "test"}},
    }
    evaluate = {**SECTIONS["evaluate"], **mmhal, "judge": "testbed-oracle"}
    chain = chain_of(str(written(tmp_path, evaluate=evaluate)), {"metric": "mmhal/score"}, {})
    with pytest.raises(UsageError, match="mmhal"):
        check_chain(chain)


def test_a_revision_is_of_the_adapter_that_the_chain_begins_with_alone(tmp_path: Path) -> None:
    begun = {**SECTIONS["train"], "adapter": "me/begun", "adapter_revision": "v1"}
    evaluated = {**SECTIONS["evaluate"], "adapter": "me/begun", "adapter_revision": "v1"}
    chain = chain_of(str(written(tmp_path, train=begun, evaluate=evaluated)), {}, {})
    for number, wanted in ((1, ("me/begun", "v1")), (2, (str(tmp_path / "round-1/train"), None))):
        calls = chain.calls(number, tmp_path)
        for call in (calls.build, calls.train):
            recipe = call.resolved()
            assert (recipe.adapter, recipe.adapter_revision) == wanted
        assert calls.evaluate.resolved().adapter_revision is None
