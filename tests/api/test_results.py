"""From rows in memory to the Hub: typed results that show themselves, training with benchmarks watched, publishing."""

from __future__ import annotations

import html
import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mmpref
from mmpref.api.results import BuiltDataset, Compared, Evaluation, Inspection, Publication
from mmpref.bench.compare import Comparison
from mmpref.errors import RunError, UsageError
from mmpref.tables.table import TABLES
from tests import bare, forked
from tests.align.conftest import preferences
from tests.api.conftest import SMALL
from tests.bench.finished_runs import finished_run

__all__ = ["preferences"]  # the fixture

TINY = {"lora": {"r": 4, "alpha": 8}, "trainer": {"max_steps": 2, "per_device_train_batch_size": 4}}


@pytest.fixture(scope="module")
def built(photos: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> BuiltDataset:
    output = tmp_path_factory.mktemp("api") / "run"
    return mmpref.build_dataset(
        source=pd.DataFrame(photos), validation=0.3, builder=SMALL, output=output, progress=False
    )


def test_a_dataset_is_its_folder_its_manifest_its_report_and_its_rows(built: BuiltDataset) -> None:
    assert (built.path / "run.json").is_file()
    assert os.fspath(built) == str(built.path)
    assert built.splits() == ["train", "validation"]
    splits = built.to_datasets()
    frame = built.to_pandas()
    assert len(frame) == built.manifest["counts"]["rows"] == sum(split.num_rows for split in splits.values())
    assert len(built.to_pandas("validation")) == splits["validation"].num_rows == built.load("validation").num_rows
    assert {"images", "prompt", "chosen", "rejected"} <= set(frame.columns)
    assert built.report["rows"] == len(frame)
    assert repr(built).startswith("preference dataset\npairs")
    assert str(built.path) in repr(built)


def test_what_a_result_does_not_have_is_said(built: BuiltDataset) -> None:
    for read in (built.load, built.to_pandas):
        with pytest.raises(UsageError, match=r"no split 'test'\. There are: train, validation"):
            read("test")
    with pytest.raises(UsageError, match=r"no 'base'\. There are: differences, values"):
        Evaluation(built.path, {}).to_pandas("base")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nothing to compare"):
        mmpref.compare()
    with pytest.raises(UsageError, match=r"\['runs/a'\], which is no path\. .* one by one: compare\(\*runs\)"):
        mmpref.compare(["runs/a"])
    for function in (mmpref.build_dataset, mmpref.train, mmpref.evaluate):
        with pytest.raises(UsageError, match="output= is 3, which is no path"):
            function(recipe="testbed", output=3)
    with pytest.raises(UsageError, match="output= is 3, which is no path"):
        mmpref.iterate("testbed", output=3)


def test_a_comparison_shows_its_warnings() -> None:
    compared = Compared(Comparison((), (), (), ("<pope>: the data differ",), {}))
    assert repr(compared).endswith("Warning: <pope>: the data differ")
    assert compared._repr_html_().endswith("<p>Warning: &lt;pope&gt;: the data differ</p>")


def test_rows_that_a_run_made_are_rows_in_memory_too(built: BuiltDataset) -> None:
    report = mmpref.inspect(built).report
    again = mmpref.inspect(built.to_pandas("train"))
    assert isinstance(again, Inspection)
    assert again.report["rows"] == report["rows"]
    assert again.title == "rows in memory (train)"
    assert again.report["words"] == report["words"]


def test_tables_are_escaped_in_notebooks(built: BuiltDataset) -> None:
    report = {**mmpref.inspect(built).report, "sources": {"<script>alert(1)</script>": 3}}
    shown = Inspection(report)
    assert "<script>" in repr(shown)
    assert "<script>" not in shown._repr_html_()
    assert html.escape("<script>") in shown._repr_html_()
    assert list(shown.to_pandas().columns) == ["what", "value"]


def test_another_processs_recipe_names_rows_that_are_not_here(built: BuiltDataset, tmp_path: Path) -> None:
    source = built.manifest["recipe"]["source"]
    done = forked.mmpref(["build-dataset", "--source", source, "--output", tmp_path / "run"])
    assert done.returncode == 1
    assert "memory of another process. Give mmpref the same rows again" in done.stderr
    assert not (tmp_path / "run").exists()


def test_publishing_rows_that_were_in_memory(built: BuiltDataset, tmp_path: Path, hub_env: dict[str, str]) -> None:
    script = "import sys, mmpref; print(mmpref.publish(sys.argv[1], hub_dataset_id='photos'))"
    done = bare.python(script, str(built.path), environment=hub_env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "commit" in done.stdout
    assert "url" in done.stdout
    card = (built.path / "README.md").read_text(encoding="utf-8")
    assert "<code>rows in memory</code>" in card
    assert "object at" not in card


def test_a_publication_is_shown() -> None:
    shown = Publication("https://hub/a/b", "0" * 40, None, None, True, "a/b", "dataset")
    assert [line.split()[0] for line in repr(shown).splitlines()] == [
        "published",
        "url",
        "commit",
        "changed",
        "repo",
        "repo",
    ]


def test_a_comparisons_frame_says_which_tests_are_of_the_form_of_answers(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", {"base": np.zeros(60), "adapter": np.ones(60)})
    content = json.loads((run / "results.json").read_text())
    for parse_failures, is_form in ((60, True), (0, False)):
        for row in content["results"]:
            row |= {"answers": 60, "parse_failures": parse_failures}
        (run / "results.json").write_text(json.dumps(content))
        frame = mmpref.compare(run).to_pandas()
        assert frame["is_form"].tolist() == [None, is_form]


def test_an_arm_of_a_comparison_may_be_one_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", {"base": np.zeros(60), "adapter": np.ones(60)})
    one, listed = (mmpref.compare(arms={"dpo": runs}).comparison.arms for runs in (str(run), [run]))
    assert one == listed != ()


@pytest.mark.long
def test_an_adapter_has_its_log_and_watches_benchmarks(preferences: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        **TINY,
        "dataset": preferences,
        "eval_benchmark": "pope",
        "eval_every": 1,
        "eval_limit": 4,
    }
    trained = mmpref.train(**options, output=tmp_path / "run")
    assert trained.to_pandas()["step"].tolist() == [row["step"] for row in trained.log]
    assert len(trained.manifest["evaluations"]) >= 2
    assert "LoRA layers" in repr(trained)
    scores = mmpref.evaluate(adapter=trained, benchmark="pope", limit=4, output=tmp_path / "scores")
    assert scores.results.models["adapter"].adapter == str(trained.path)
    assert "difference" in repr(scores)
    compared = mmpref.compare(scores)
    frame = compared.to_pandas()
    assert set(frame["model"]) == set(compared.comparison.models)
    assert "<table>" in compared._repr_html_()


@pytest.mark.long
def test_preference_data_and_benchmarks_may_be_rows_in_memory(built: BuiltDataset, tmp_path: Path) -> None:
    trained = mmpref.train(**TINY, dataset=built.load(), output=tmp_path / "adapter", progress=False)
    [source] = trained.manifest["datasets"]
    assert source["id"] == "rows in memory"
    assert trained.manifest["recipe"]["dataset"][0].startswith("memory:")
    questions = list(islice(TABLES.get("testbed-pope")("test"), 6))
    by_rows = mmpref.evaluate(benchmarks="pope", benchmark={"pope": {"data": questions}}, output=tmp_path / "rows")
    by_name = mmpref.evaluate(benchmarks="pope", limit=6, output=tmp_path / "name")
    assert by_rows.to_pandas()["value"].tolist() == by_name.to_pandas()["value"].tolist()
    assert by_rows.results.values[0].data["id"] == "rows in memory"


RECIPE = """
build-dataset:
  model: pkg:mmpref.testbed/model
  source: testbed
  limit: 8
  builder: {similarity_model: "pkg:mmpref.testbed/embedder", iterations: 1, max_tail_tokens: 8, max_answer_tokens: 16}
train:
  model: pkg:mmpref.testbed/model
  lora: {r: 4, alpha: 8}
  trainer: {learning_rate: 3.0e-2, per_device_train_batch_size: 4, max_steps: 2}
  watch: {benchmarks: [pope], every: 1, limit: 4}
evaluate:
  model: pkg:mmpref.testbed/model
  benchmarks: [pope, chair]
  limit: 8
  benchmark:
    pope: {data: testbed-pope, split: test, suffix: "", max_new_tokens: 8}
    chair: {data: testbed-chair, split: test, synonyms: "pkg:mmpref.testbed/synonyms.txt", max_new_tokens: 32}
"""


@pytest.mark.long
def test_a_recipe_that_watches_benchmarks_is_reproduced(tmp_path: Path) -> None:
    (tmp_path / "watching.yaml").write_text(RECIPE)
    done = forked.mmpref(["reproduce", "watching.yaml", "--output", "run"], folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "train" / "evaluations.jsonl").is_file()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.index("chair chair_i") < page.index("pope accuracy"), "hallucination in free text comes first"
    assert 1 <= page.count('<div class="turn">') <= 3, "captions of both models"


def test_a_shard_that_waits_for_others_says_so_in_place_of_rows() -> None:
    built = BuiltDataset(Path("runs/shard"), {"shard": [0, 2], "blocks": 4, "waiting": 2})
    assert "2" in repr(built)
    for read in (built.splits, built.load, built.to_datasets, built.to_pandas):
        with pytest.raises(RunError, match="other shards have 2 blocks"):
            read()
