"""``mmpref reproduce`` of a study: its dry run, its table, its exit code; and what of it is not for recipes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from mmpref.cli.main import main
from mmpref.cli.reproduce_study import HowFar
from mmpref.run.results import Key
from mmpref.study import plan, plan_file
from mmpref.study.measurement import Ledger, Measurement, MetricValue
from mmpref.study.schedule import Schedule
from mmpref.study.targets import Target
from tests.study.conftest import PLAN


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Exit code, stdout and stderr of a command."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A plan whose base is measured already."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**PLAN, "seeds": 2, "show": ["chair recall"]}, sort_keys=False))
    schedule = Schedule(plan.load(str(path)), tmp_path / "study", ["base"])
    job = schedule.job(Target("base", 0, 0))
    assert job
    value = MetricValue(Key("chair", "recall", "all"), 0.75, 8, True)
    Ledger(tmp_path / "study" / "ledger").write(
        Measurement(row="base", split="test", base=0, seed=0, recipe_hash=job.hashes["test"], values=(value,))
    )
    return path


def test_a_dry_run_prints_rows_with_commands_that_parse(said, study: Path) -> None:
    output = study.parent / "study"
    code, text, _ = said("reproduce", study, "--output", output, "--dry-run", "--json")
    assert code == 0
    base, bdhs, fewer = json.loads(text)["rows"]
    assert (base["runs"], base["measured"], bdhs["runs"], bdhs["grid_points"]) == (1, 1, 2, 2)
    build, train, chosen_by, evaluate = map(shlex.split, bdhs["commands"])
    assert build[:6] == ["mmpref", "build-dataset", "--recipe", "testbed", "--method", "bdhs"]
    assert train[train.index("--dataset") + 1] == build[build.index("--output") + 1]
    assert evaluate[evaluate.index("--adapter") + 1] == train[train.index("--output") + 1]
    assert "trainer.learning_rate=0.001" in train
    assert chosen_by[chosen_by.index("--limit") + 1] == "6", "the evaluation on dev"
    assert fewer["commands"][0] == bdhs["commands"][0]
    assert not [path for path in output.iterdir() if path.name != "ledger"]
    code, text, _ = said("reproduce", study, "--output", output, "--dry-run", "--only", "b*")
    assert code == 0
    assert "bdhs: 0 of 2 runs measured, 0 of 2 points of its grid" in text
    assert "fewer" not in text
    assert "3 runs, 1 of them measured" in text


def test_what_is_measured_is_shown_and_not_run_again(said, study: Path) -> None:
    output = study.parent / "study"
    code, text, err = said("reproduce", study, "--output", output, "--only", "base")
    assert (code, err) == (0, "1 of 1 run measured.\n")
    assert "0.750" in text
    assert "measured: 1 of 1 run" in text
    code, text, _ = said("reproduce", study, "--output", output, "--minutes", "0", "--json")
    assert code == 0
    result = json.loads(text)
    assert (result["runs"], result["left"], result["out_of_time"]) == (5, 4, True)
    assert result["rows"][0]["means"] == {"chair recall": 0.75}


def test_a_wrong_plan_and_a_wrong_row_are_wrong_usage(said, study: Path) -> None:
    code, _, err = said("reproduce", study, "--only", "bdsh", "--dry-run")
    assert (code, "has no row 'bdsh'. Did you mean 'bdhs'" in err) == (2, True)
    study.write_text(study.read_text().replace("method: dpo", "method: dop"))
    code, _, err = said("reproduce", study, "--dry-run")
    assert (code, f"{study}: row 'bdhs': " in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "2"], "--jobs is for studies"),
        (["--minutes", "1"], "--minutes is for studies"),
        (["--only", "trian"], "A recipe has no step 'trian'. Did you mean 'train'"),
    ],
)
def test_options_of_studies_are_none_of_recipes(said, arguments: list[str], message: str) -> None:
    code, _, err = said("reproduce", "testbed", *arguments)
    assert (code, message in err) == (2, True)


def test_studies_are_listed(said) -> None:
    code, text, _ = said("list", "studies", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(text)] == plan_file.names()


def test_a_study_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mmpref.cli.reproduce_study.time.monotonic", lambda: now[0])
    how_far = HowFar()
    for measured in (2, 3, 4):
        how_far(measured, 4)
        now[0] += 120
    assert capsys.readouterr().err.splitlines() == [
        "2 of 4 runs measured.",
        "3 of 4 runs measured, 2 min left.",
        "4 of 4 runs measured.",
    ]
