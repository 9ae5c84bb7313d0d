"""Tables by ``mmpref reproduce``, of the paper and of the field: dry runs at both scales offline, and rows for real."""

from __future__ import annotations

import importlib
import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

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


def _small(name: str, folder: Path, **more: Any) -> Path:
    """The plan as it stands, but for its sizes."""
    plan = plans.load(name)
    sizes = {
        "extends": str(plan.path),
        "kl": "none",
        "data": {name: {"limit": 24, "subsample": None, "block_size": 24} for name in plan.data},
        "train": {name: {"trainer": {"max_steps": 1, "per_device_train_batch_size": 4}} for name in plan.train},
        "evaluate": {name: {"limit": 2} for name in plan.evaluate},
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(sizes))
    return path


def _reproduced(path: Path, output: Path, *options: str) -> dict[str, Any]:
    words = ["reproduce", str(path), "--output", str(output), "--json", *options]
    done = CliRunner().invoke(program, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.long
def test_a_row_of_each_of_the_papers_tables_runs_on_the_testbed(tmp_path: Path) -> None:
    """The last one."""
    for name in [name for name in NAMES if name.startswith(("table", "figure"))]:
        plan = plans.load(name)
        last = list(plan.rows)[-1]
        searches = {row: one.grid.search for row, one in plan.rows.items() if one.grid}
        first = {
            row: {"grid": {"search": {key: found[:1] for key, found in search.items()}}}
            for row, search in searches.items()
        }
        path = _small(name, tmp_path, rows=first)
        result = _reproduced(path, tmp_path / f"out-{name}", "--only", last)
        assert (result["left"], result["failures"]) == (0, [])
        page = (tmp_path / f"out-{name}" / "table.md").read_text(encoding="utf-8")
        ours = next(line for line in page.splitlines()[::-1] if line.startswith("| | ours"))
        cells = [cell.strip() for cell in ours.strip("| ").split("|")[1:]]
        numbers = [cell for cell in cells if cell.replace(".", "").isdigit()]
        assert len(numbers) == len(cells) - ("POPE" in page), "POPE needs all of its splits"


@pytest.mark.long
def test_every_row_of_the_field_runs_on_the_testbed(tmp_path: Path) -> None:
    """All rows of "rivals", but for one method."""
    plan = plans.load("rivals")
    path = _small(
        "rivals",
        tmp_path,
        bases=[0],
        seeds=1,
        measure=["test"],
        grid={"search": {"trainer.learning_rate": [1e-4]}},
        show=["chair chair_i"],
        claims=None,
        data={name: {"limit": 24, "block_size": 24} for name in plan.data} | {"hide-object": {"limit": 96}},
        # Of these few rows make a pair, and fewer one that continues a context: without one c-dpo refuses them.
        rows={"hide-object": {"train": "dpo"}},
    )
    result = _reproduced(path, tmp_path / "out")
    assert (result["runs"], result["left"], result["failures"]) == (len(plan.rows), 0, [])
