"""``mmpref power`` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.cli.main import program
from mmpref.errors import UsageError
from tests.bench.conftest import MODEL
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


@pytest.mark.parametrize("words", [[], ["run", "--rate", "0.8"], ["run", "--changed", "0.1"]])
def test_runs_or_rates(words: list[str]) -> None:
    done = CliRunner().invoke(program, ["power", *words])
    assert isinstance(done.exception, UsageError)
