"""Paired comparisons: base and adapter of one run, and models of several; what does not pair is not tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpref.bench.compare import compare
from mmpref.bench.disagreements import disagreements
from mmpref.bench.evaluate import evaluate
from mmpref.bench.finished_model import headlines, read_finished
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.significance import holm
from mmpref.run.results import Difference, Key

from .conftest import MODEL
from .finished_runs import finished_run

SETTINGS = {
    "pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 8},
    "chair": {"data": "testbed-chair", "synonyms": "pkg:mmpref.testbed/synonyms.txt", "max_new_tokens": 32},
}


@pytest.fixture(scope="module")
def runs(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs")
    both = evaluate(
        EvaluateRecipe(MODEL, ("pope", "chair"), adapter=str(adapter), benchmark=SETTINGS, limit=40), folder / "both"
    )
    evaluate(EvaluateRecipe(MODEL, ("pope", "chair"), benchmark=SETTINGS, limit=40), folder / "base")
    evaluate(EvaluateRecipe(MODEL, ("pope",), benchmark=SETTINGS, limit=30), folder / "fewer")
    return folder, both


def test_differences_have_p_values_and_claims_are_corrected_over_benchmarks(runs: tuple[Path, dict[str, Any]]) -> None:
    rows = runs[1]["differences"]
    assert all(0 < row["p"] <= 1 for row in rows)
    tests = {(row["benchmark"], row["metric"]): row["test"] for row in rows}
    assert tests["pope", "accuracy"] == tests["chair", "chair_s"] == "McNemar"
    assert tests["pope", "f1"] == tests["chair", "chair_i"] == "bootstrap"
    claimed = [row for row in rows if row["headline"]]
    assert [(row["benchmark"], row["metric"], row["split"]) for row in claimed] == [
        ("pope", "accuracy", "all"),
        ("chair", "chair_i", "all"),
    ]
    assert [row["p_holm"] for row in claimed] == holm([row["p"] for row in claimed])
    assert all(row["p_holm"] is None for row in rows if not row["headline"])


def test_comparing_the_two_models_of_a_run_gives_its_own_differences(runs: tuple[Path, dict[str, Any]]) -> None:
    found = compare([runs[0] / "both"])
    own = {(row["benchmark"], row["metric"], row["split"]): row for row in runs[1]["differences"]}
    for (key, _), (none, test) in zip(found.rows, found.tests, strict=True):
        assert none is None
        expected = own[key]
        for name in ("value", "low", "high", "p", "test", "p_holm"):
            assert getattr(test, name) == expected[name], (key, name)


def test_runs_that_answered_the_same_are_paired_and_others_are_not(runs: tuple[Path, dict[str, Any]]) -> None:
    found = compare([runs[0] / "base", runs[0] / "both", runs[0] / "fewer"])
    assert found.models == ("both, base: base", "both: adapter", "fewer: base")
    for _, (_, adapter, fewer) in zip(found.rows, found.tests, strict=True):
        assert adapter is not None
        assert fewer is None
    assert any("number of samples differs" in warning for warning in found.warnings)


def test_runs_of_before_the_resamples_were_kept_are_shown_untested(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(runs[0] / "both", tmp_path / "old")
    (tmp_path / "old/resamples.parquet").unlink()
    assert not any(any(tests) for tests in compare([tmp_path / "old"]).tests)


@pytest.mark.parametrize("images", [1, 3])
def test_few_images_are_no_evidence_whatever_they_show(adapter: Path, tmp_path: Path, images: int) -> None:
    """No test of n images makes p smaller than 2 / 2^n, by whatever metric; and what is no evidence is not claimed."""
    recipe = EvaluateRecipe(MODEL, ("chair", "pope"), adapter=str(adapter), benchmark=SETTINGS, limit=images)
    rows = [Difference.from_dict(row) for row in evaluate(recipe, tmp_path / "run")["differences"]]
    assert any(row.direction for row in rows)
    assert all(row.p is None or row.p >= 2 / 2**images for row in rows)
    assert not {row.verdict for row in rows} & {"better", "worse", "higher", "lower"}
    tests = [test for _, test in compare([tmp_path / "run"]).tests if test]
    assert [test.p for test in tests] == [row.p for row in rows]


def test_wins_and_losses_are_those_of_the_records(runs: tuple[Path, dict[str, Any]]) -> None:
    base, adapter = read_finished([runs[0] / "both"])
    for key in headlines([base, adapter]):
        found = disagreements(base, adapter, key, limit=3)
        moved = adapter.values[key].value - base.values[key].value
        if key[0] == "pope":
            assert (found.wins - found.losses) / 40 == pytest.approx(moved)
        assert len(found.lost) == min(3, found.losses)
        assert all(turn.gain < 0 and turn.images and turn.first != turn.second for turn in found.lost)
        assert all(turn.gain > 0 and turn.images for turn in found.won)


def test_a_count_that_is_left_out_is_none(tmp_path: Path) -> None:
    """As a benchmark of another package may write what its metrics take for 0."""
    run = finished_run(tmp_path / "run", {"base": np.array([0.0, 1.0, 1.0]), "adapter": np.array([1.0, 1.0, 0.0])})
    for file in (run / "samples").iterdir():
        rows = pq.read_table(file).to_pylist()
        for row in rows:
            row["counts"] = json.dumps({name: count for name, count in json.loads(row["counts"]).items() if count})
        pq.write_table(pa.Table.from_pylist(rows), file)
    found = disagreements(*read_finished([run]), Key("pope", "accuracy", "all"), limit=0)
    assert (found.wins, found.losses) == (1, 1)


def test_changed_data_show_no_images(runs: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs[0] / "both", tmp_path / "run")
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    manifest["data"]["pope"]["samples"] = "sha256:other"
    (tmp_path / "run/run.json").write_text(json.dumps(manifest))
    base, adapter = read_finished([tmp_path / "run"])
    found = disagreements(base, adapter, Key("pope", "accuracy", "all"), limit=3)
    assert found.lost
    assert not any(turn.images for turn in (*found.won, *found.lost))


def test_the_first_column_that_has_a_benchmark_is_what_others_are_set_against(
    runs: tuple[Path, dict[str, Any]],
) -> None:
    found = compare([runs[0] / "fewer", runs[0] / "both"])
    for (key, _), tests in zip(found.rows, found.tests, strict=True):
        assert tests[:2] == (None, None)
        assert (tests[2] is not None) is (key[0] == "chair"), key  # `fewer` has another number of POPE's samples
    claims = [test.p_holm for tests in found.tests for test in tests if test and test.p_holm is not None]
    assert len(claims) == 1
