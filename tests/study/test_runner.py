"""A small study for real: built, trained, evaluated, interrupted, and gone on with."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest

from mmpref.errors import RunError, UsageError
from mmpref.run.results import Results
from mmpref.study import plan, runner
from mmpref.study.measurement import Ledger
from mmpref.study.preview import check
from mmpref.study.work import evaluation_folder
from tests.study.conftest import PLAN, WritePlan


def _bytes(ledger: Path) -> dict[str, bytes]:
    """All files but the one that says how long things took."""
    files = (path for path in ledger.rglob("*") if path.is_file() and path.name != "timings.jsonl")
    return {str(path.relative_to(ledger)): path.read_bytes() for path in files}


CLAIM_WITHOUT_ITS_BENCHMARK = {
    "id": "1",
    "says": "BDHS answers yes and no as well.",
    "effects": [{"row": "bdhs", "metric": "pope accuracy", "split": "test", "direction": "higher"}],
}


def test_a_study_is_measured_and_goes_on_where_it_was_interrupted(write_plan: WritePlan, tmp_path: Path) -> None:
    rows = {"base": {}, "bdhs": {**PLAN["rows"]["bdhs"], "grid": "none"}}
    made, study = plan.load(str(write_plan(rows=rows))), tmp_path / "study"
    check(made, study)
    begun: list[str] = []

    def interrupt(line: str) -> None:
        begun.append(line)
        if line.startswith("the adapter"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(made, study, say=interrupt)
    assert begun == [
        "measuring base, base 0, seed 0",
        "the pairs 'pairs' on base 0",
        "the adapter of row 'bdhs', base 0, seed 0",
    ]
    begun.clear()
    outcome = runner.run(made, study, minutes=0, say=begun.append)
    assert (outcome.out_of_time, outcome.left, begun) == (True, 1, [])
    told: list[tuple[int, int]] = []
    outcome = runner.run(made, study, say=begun.append, on_progress=lambda *news: told.append(news))
    assert told == [(1, 2), (2, 2)]
    assert (outcome.runs, outcome.left, list(outcome.failures)) == (2, 0, [])
    assert begun == ["the adapter of row 'bdhs', base 0, seed 0", "measuring bdhs, base 0, seed 0"]

    base, bdhs = Ledger.read(study / "ledger")
    assert (base.row, base.kl, base.training, base.data) == ("base", None, {}, {})
    assert bdhs.kl is not None
    assert bdhs.kl > 0
    assert bdhs.training["steps"] == 2
    assert 0 < bdhs.data["pairs"] <= 12
    assert bdhs.seconds.keys() == {"build", "train", "evaluate"}
    for one in (base, bdhs):
        counts = one.counts["chair"]
        assert counts.images == base.counts["chair"].images
        assert len(Ledger(study / "ledger").image_ids(counts.images)) == len(counts.sums) == 8
        for value in one.values:
            top, bottom = value.of or ("", "")
            assert counts.of(top).sum() / counts.of(bottom).sum() == pytest.approx(value.value)
        kept = Results.read(evaluation_folder(study, "test", one.recipe_hash)).by_key("base")
        assert [value.value for value in one.values] == [value.value for value in kept.values()]
    sizes = [path.stat().st_size for path in (study / "ledger").rglob("test-*.json")]
    assert max(sizes) < 8000

    for folder in ("data", "train", "evaluate"):
        shutil.rmtree(study / folder)
    begun.clear()
    assert (runner.run(made, study, say=begun.append).left, begun) == (0, [])


def test_two_sessions_of_one_study_do_not_get_in_each_others_way(write_plan: WritePlan, tmp_path: Path) -> None:
    made = plan.load(str(write_plan()))

    def second(_line: str) -> None:
        runner.run(made, tmp_path / "study", minutes=0)

    with pytest.raises(RunError, match="Another process is working in"):
        runner.run(made, tmp_path / "study", say=second)


def test_no_process_of_a_study_works_on_when_it_is_killed(write_plan: WritePlan, tmp_path: Path) -> None:
    path = write_plan(bases={"seeds": [0, 1], "trained_by": "asleep:train"}, rows={"base": {}})
    begun = tmp_path / "begun"
    (tmp_path / "asleep.py").write_text(
        f"import pathlib, time\ndef train(**_):\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(300)\n"
    )
    command = [
        sys.executable,
        "-m",
        "mmpref",
        "reproduce",
        str(path),
        "--jobs",
        "2",
        "--output",
        str(tmp_path / "study"),
    ]
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with open(tmp_path / "log", "wb") as log:
        study = psutil.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=log, stderr=log)
    until = time.monotonic() + 120
    while not begun.exists() and time.monotonic() < until and study.poll() is None:
        time.sleep(0.1)
    assert begun.exists(), (tmp_path / "log").read_text()
    workers = study.children(recursive=True)
    study.kill()
    study.wait()
    left = psutil.wait_procs(workers, timeout=30)[1]
    for process in left:
        process.kill()
    assert not left


def test_a_training_that_fails_is_recorded_and_the_study_goes_on(write_plan: WritePlan, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.parquet")
    rows = {"bad": {"data": "ready", "train": "dpo", "grid": "none"}, "base": {}}
    made, study = plan.load(str(write_plan(rows=rows, data={"ready": {"dataset": [absent]}}))), tmp_path / "study"
    outcome = runner.run(made, study, say=lambda _: None)
    assert (outcome.left, [failure.row for failure in outcome.failures]) == (1, ["bad"])
    assert absent in outcome.failures[0].reason
    assert [one.row for one in Ledger.read(study / "ledger")] == ["base"]
    assert Ledger(study / "ledger").failures() == list(outcome.failures)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"train": {"dpo": {"method": "dop"}}},
            "row 'bdhs': testbed, train: There is no training method 'dop'. Did you",
        ),
        ({"train": {"dpo": {"trainer": {"learning_rat": 1}}}}, "row 'bdhs': "),
        ({"train": {"dpo": {"method": "online-dpo", "annotator": None}}}, "row 'bdhs': "),
        ({"data": {"pairs": {"method": "bdsh"}}}, "row 'bdhs': testbed, build-dataset: There is no "),
        ({"data": {"pairs": {"builder": {"rho": 1}}}}, "row 'bdhs': "),
        ({"evaluate": {"dev": {"benchmarks": ["chair"]}, "test": {"benchmarks": ["chiar"]}}}, "row 'base': "),
        ({"evaluate": {"dev": {"benchmarks": ["pope"]}, "test": {}}}, "its grid goes by 'chair chair_i'"),
        (
            {"measure": ["dev", "test"]},
            "row 'bdhs': its settings are chosen by chair on the evaluation 'dev', and 'dev' reports on the same data",
        ),
        (
            {"evaluate": {"dev": {"benchmarks": ["chair"], "limit": 6}, "test": {"benchmarks": ["pope", "chair"]}}},
            "row 'bdhs': its settings are chosen by chair on the evaluation 'dev', and 'test' reports on the same data",
        ),
        ({"bases": {"seeds": [0, 1], "trained_by": "no_such:thing"}}, "bases.trained_by is 'no_such:thing'"),
        ({"recipe": "tesbed"}, "There is no recipe 'tesbed'"),
        (
            {"claims": [CLAIM_WITHOUT_ITS_BENCHMARK]},
            "claim '1' goes by 'pope accuracy', and the evaluation 'test' has no 'pope'",
        ),
        ({"show": ["pope accuracy"]}, "show goes by 'pope accuracy', and the evaluation 'test' has no 'pope'"),
        (
            {"columns": {"POPE": {"metric": "pope mean_f1", "split": "test"}}},
            "the column 'POPE' goes by 'pope mean_f1', and the evaluation 'test' has no 'pope'",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_named_with_its_row_before_any_work(
    write_plan: WritePlan, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = write_plan(**changes)
    with pytest.raises(UsageError) as error:
        check(plan.load(str(path)), tmp_path / "study")
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert not (tmp_path / "study").exists()


@pytest.mark.long
def test_two_processes_leave_the_same_bytes_as_one(
    write_plan: WritePlan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = plan.load(str(write_plan()))
    for jobs in (1, 2):
        assert runner.run(made, tmp_path / str(jobs), jobs=jobs, say=lambda _: None).left == 0
    assert _bytes(tmp_path / "1" / "ledger") == _bytes(tmp_path / "2" / "ledger")
    assert "kernels" not in capfd.readouterr().err  # of a library in a process of its own; some processors have none
