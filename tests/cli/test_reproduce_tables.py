"""Tables by ``mmpref reproduce``, of the paper and of the field: dry runs at both scales offline, and rows for real."""

from __future__ import annotations

import importlib
import json
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mmpref.cli.main import COMMANDS, program
from mmpref.study import plan as plans

NAMES = [name for name in plans.names() if name.startswith(("table", "figure", "rivals"))]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run asks nobody")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def _parse(line: str) -> None:
    """By Click's own parser."""
    word, name, *arguments = shlex.split(line)
    assert word == "mmpref"
    command = importlib.import_module(COMMANDS[name][0]).command
    with command.make_context(name, arguments) as context:
        assert context.params["output"] or name == "evaluate"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["testbed", "paper"])
def test_a_dry_run_prints_commands_that_parse(name: str, scale: str, tmp_path: Path) -> None:
    more = ["--scale", "paper"] if scale == "paper" else []
    words = ["reproduce", name, "--dry-run", "--output", str(tmp_path / "out"), *more]
    done = CliRunner().invoke(program, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  mmpref ")]
    assert len(commands) >= len(plans.load(name).rows)
    for line in commands:
        _parse(line)
    assert not (tmp_path / "out").exists()
    assert ("YiyangAiLab/POVID_preference_data_for_VLLMs (0.0209 GB)" in done.stdout) == (
        scale == "paper" and name not in ("table8", "table9", "table11")
    )
    assert ("Hours are an estimate, not a measurement" in done.stdout) == (scale == "paper")
    published = [row for row in plans.load(name, scale if more else None).rows.values() if row.paper]
    assert done.stdout.count("\n  published: ") == len(published)


@pytest.mark.parametrize(("scale", "model"), [("13b", "llava-v1.6-vicuna-13b-hf"), ("34b", "llava-v1.6-34b-hf")])
def test_a_dry_run_of_another_size(scale: str, model: str, tmp_path: Path) -> None:
    words = ["reproduce", "table5", "--scale", scale, "--only", "baseline", "--only", "bdhs-povid", "--dry-run"]
    done = CliRunner().invoke(program, [*words, "--output", str(tmp_path / "out")], catch_exceptions=False)
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  mmpref ")]
    steps = Counter(shlex.split(line)[1] for line in commands)
    assert (steps["build-dataset"], steps["train"]) == (2, 1), "POVID's pairs, and BDHS on their chosen answers"
    for line in commands:
        _parse(line)
    assert model in done.stdout
    assert "7b" not in done.stdout
    assert done.stdout.count("\n  published: ") == 1


def test_a_dry_run_as_json(tmp_path: Path) -> None:
    words = ["reproduce", "table2", "--only", "ppo", "--scale", "paper", "--dry-run", "--json"]
    done = CliRunner().invoke(program, [*words, "--output", str(tmp_path)], catch_exceptions=False)
    found = json.loads(done.stdout)
    [row] = found["rows"]
    assert row["paper"]["POPE"] == 87.54
    assert row["stands_in"].startswith("RLOO in the place of PPO")
    assert [cost["work"].split(",")[0] for cost in found["costs"]] == [
        "build-dataset vlfeedback",
        "train reward-model",
        "train rloo",
        "evaluate pope",
    ]
    assert all(cost["hours"] is not None for cost in found["costs"])


def test_studies_are_listed_with_their_titles() -> None:
    done = CliRunner().invoke(program, ["list", "studies", "--json"], catch_exceptions=False)
    found = {row["name"]: row["what"] for row in json.loads(done.stdout)}
    assert set(NAMES) <= found.keys()
    assert found["figure10"] == "Figure 10: share of pairs resolved after each try"


@pytest.mark.long
def test_a_row_runs_on_the_testbed(tmp_path: Path) -> None:
    """Table 12's IPO row with two steps, from the plan as it stands but for its sizes."""
    plan = tmp_path / "small.yaml"
    plan.write_text(
        f"""
extends: {plans.find("table12")}
data: {{povid-full: {{limit: 12}}}}
train: {{ipo: {{trainer: {{max_steps: 2, per_device_train_batch_size: 4}}}}}}
evaluate: {{dev: {{limit: 4}}, test: {{limit: 4}}}}
grid: {{search: {{trainer.learning_rate: [1e-4], trainer.num_train_epochs: null}}}}
kl: none
rows:
  dpo: null
  slic: null
  ipo: {{grid: {{search: {{loss.beta: [0.9]}}}}}}
"""
    )
    words = ["reproduce", str(plan), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(program, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "| ipo | paper | 87.62 | 3.11 | 3.11 | 82.34 | 65.09 | 64.47 | 43.99 | 69.81 |" in page
    ours = next(line for line in page.splitlines()[::-1] if line.startswith("| | ours"))
    _, *others = [cell.strip() for cell in ours.strip("| ").split("|")[1:]]
    assert len(others) == 7
    assert all(cell.replace(".", "").isdigit() for cell in others), "POPE, the first, needs all of its splits"
    again = CliRunner().invoke(program, [*words, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["left"] == 0


@pytest.mark.long
def test_every_row_of_the_field_runs_on_the_testbed(tmp_path: Path) -> None:
    """All rows of "rivals" from the plan as it stands, but for their sizes and one method."""
    plan = plans.load("rivals")
    sizes = {
        "extends": str(plan.path),
        "bases": [0],
        "seeds": 1,
        "measure": ["test"],
        "kl": "none",
        "grid": {"search": {"trainer.learning_rate": [1e-4]}},
        "data": {name: {"limit": 24, "block_size": 24} for name in plan.data}
        | {"hide-object": {"limit": 96}},  # of which few rows make a pair, and fewer one that continues a context:
        "rows": {"hide-object": {"train": "dpo"}},  # without one c-dpo refuses them
        "train": {name: {"trainer": {"max_steps": 1, "per_device_train_batch_size": 2}} for name in plan.train},
        "evaluate": {name: {"limit": 2} for name in ("dev", "test")},
        "show": ["chair chair_i"],
        "claims": None,
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(sizes))
    words = ["reproduce", str(path), "--output", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(program, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["runs"], result["left"], result["failures"]) == (len(plan.rows), 0, [])
