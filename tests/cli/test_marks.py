"""Every comparison marks what says little: images of the adapter's training, and data that chose its step."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmpref.cli.main import program
from mmpref.run.asked import CHOSEN_ON, TRAINED_ON
from tests.bench.finished_runs import finished_run

TRAINED = ({"trained_on": 60}, TRAINED_ON)
CHOSE = ({"chose": {"step": 50, "metric": "pope/accuracy"}}, CHOSEN_ON)


def _runs(folder: Path, asked: dict[str, Any]) -> list[str]:
    """Two evaluations of adapters that are better than their base."""
    rng = np.random.default_rng(0)
    base = (rng.random(300) < 0.6).astype(float)
    better = np.maximum(base, rng.random(300) < 0.3)
    runs = [finished_run(folder / name, {"base": base, "adapter": better}, weights=name) for name in ("one", "two")]
    for run in runs:
        results = json.loads((run / "results.json").read_text())
        (run / "results.json").write_text(
            json.dumps({**results, "asked": {"pope": {"benchmark": "pope", "label": "pope", **asked}}})
        )
    return [str(run) for run in runs]


def _compare(*words: str) -> str:
    done = CliRunner().invoke(program, ["compare", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(("asked", "mark"), [TRAINED, CHOSE])
def test_the_verdict_and_the_differences(tmp_path: Path, asked: dict[str, Any], mark: str) -> None:
    run, _ = _runs(tmp_path, asked)
    shown = _compare(run)
    assert re.search(rf"pope accuracy ↑ .* better {re.escape(mark)}", shown)
    assert re.search(rf"pope accuracy .*better\*\*\* {re.escape(mark)} +<0.001", shown)
    assert f"{mark}: " in shown, "what it means is said"
    _compare(run, "--html", str(tmp_path / "page.html"))
    page = html.unescape((tmp_path / "page.html").read_text())
    assert f"better {mark}" in page
    assert f"better*** {mark}" in page
    assert f"{mark}: " in page


@pytest.mark.parametrize(("asked", "mark"), [TRAINED, CHOSE])
def test_arms(tmp_path: Path, asked: dict[str, Any], mark: str) -> None:
    arm = f"dpo={','.join(_runs(tmp_path, asked))}"
    shown = _compare("--arm", arm)
    assert f"better {mark}, <0.001 Holm***" in shown
    assert f"{mark}: " in shown
    _compare("--arm", arm, "--html", str(tmp_path / "page.html"))
    assert f"better {mark}, <0.001" in html.unescape((tmp_path / "page.html").read_text())


@pytest.mark.parametrize(("asked", "mark"), [TRAINED, CHOSE])
def test_margins(tmp_path: Path, asked: dict[str, Any], mark: str) -> None:
    shown = _compare(_runs(tmp_path, asked)[0], "--margin", "0.01")
    assert re.search(rf"pope accuracy .* no worse {re.escape(mark)}", shown)
    assert "Of 1: no worse 1 (1 marked), worse 0, cannot tell 0." in shown


def test_the_json(tmp_path: Path) -> None:
    one, two = _runs(tmp_path, TRAINED[0] | CHOSE[0])
    found = json.loads(_compare(one, "--margin", "0.01", "--arm", f"dpo={one},{two}", "--json"))
    marks = [TRAINED_ON, CHOSEN_ON]
    assert [test and test["marks"] for (tests,) in [found["tests"]] for test in tests] == [None, marks]
    assert [row["marks"] for row in found["no_worse"]] == [marks]
    assert [effect["marks"] for effect in found["arms"]] == [marks, marks]


def test_nothing_is_marked_of_a_base_or_of_other_data(tmp_path: Path) -> None:
    run, other = _runs(tmp_path, TRAINED[0])
    shown = _compare(run, "--baseline", f"{other}#base", "--json")
    assert TRAINED_ON in shown
    (tmp_path / "clean").mkdir()
    clean, again = _runs(tmp_path / "clean", {})
    shown = _compare(clean, "--arm", f"dpo={clean},{again}", "--margin", "0.01")
    assert "(" + TRAINED_ON.strip("()") not in shown
    assert CHOSEN_ON not in shown
    assert "marked" not in shown
