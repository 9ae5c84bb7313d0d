"""``mmpref power`` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mmpref.bench.evaluate import evaluate
from mmpref.bench.power import spreads
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.cli.main import program
from mmpref.errors import UsageError
from tests.bench.conftest import MODEL
from tests.bench.finished_runs import finished_run
from tests.bench.test_paired import SETTINGS


def test_assumed_rates() -> None:
    done = CliRunner().invoke(program, ["power", "--rate", "0.85", "--changed", "0.1", "--json"])
    (row,) = json.loads(done.stdout)["rows"]
    assert row["needed"] == 1963  # (1.959964 + 0.841621)^2 x 0.1 / 0.02^2 = 1962.2
    assert "One question an image" in CliRunner().invoke(program, ["power", "--rate", "0.85"]).stdout


def test_by_the_answers_of_a_model_alone(tmp_path: Path) -> None:
    evaluate(EvaluateRecipe(MODEL, ("pope", "chair"), benchmark=SETTINGS, limit=30), tmp_path / "run")
    words = ["power", str(tmp_path / "run"), "--difference", "0.05"]
    rows = json.loads(CliRunner().invoke(program, [*words, "--json"]).stdout)["rows"]
    assert [row["metric"] for row in rows] == ["pope accuracy", "chair chair_i"]
    assert all(row["bound"] and row["images"] > 1 for row in rows)
    assert "at most" in CliRunner().invoke(program, words).stdout


def test_groups_are_counted_where_questions_hang_together_by_more_than_an_image(tmp_path: Path) -> None:
    """NaturalBench's rows have two images each, and MMVP's pairs too: a number of images would be half of those."""
    rng = np.random.default_rng(0)
    right = {model: rng.integers(0, 2, 60).astype(float) for model in ("base", "adapter")}
    run = finished_run(tmp_path / "run", right, benchmark="naturalbench")
    shown = CliRunner().invoke(program, ["power", str(run)]).stdout
    assert "rows of two images needed" in " ".join(shown.split())
    (row,) = json.loads(CliRunner().invoke(program, ["power", str(run), "--json"]).stdout)["rows"]
    assert (row["unit"], row["images"]) == ("rows of two images", 60)
    other = finished_run(tmp_path / "other", right, benchmark="pope")
    both = CliRunner().invoke(program, ["power", str(run), str(other)]).stdout
    assert "60 rows of two images" in " ".join(both.split())
    assert "60 images" in " ".join(both.split())
    for name, unit in (("mmvp", "pairs of images"), ("hallusionbench-blind-masked", "sets of figures")):
        (spread,) = spreads([finished_run(tmp_path / name, right, benchmark=name)])
        assert spread.unit == unit


@pytest.mark.parametrize("words", [[], ["run", "--rate", "0.8"], ["run", "--changed", "0.1"]])
def test_runs_or_rates(words: list[str]) -> None:
    done = CliRunner().invoke(program, ["power", *words])
    assert isinstance(done.exception, UsageError)
