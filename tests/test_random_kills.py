"""`scripts/random_kills.py`: what it would see, what it records, and a handful of kills of every command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
COMMANDS = {"build-dataset", "train", "evaluate", "publish"}


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import kill_targets  # type: ignore[import-not-found]

    module: ModuleType = kill_targets
    return module


def test_what_is_lost_doubled_or_different_is_seen(targets: ModuleType) -> None:
    wanted = targets.Left({"a": "1", "b": "2"}, Counter({"row": 1, "commit": 1}))
    assert not any(targets.differences(wanted, wanted).values())
    left = targets.Left({"a": "1", "b": "3", ".mmpref/half.tmp": ""}, Counter({"commit": 2}))
    assert targets.differences(left, wanted) == {
        "lost": ["row"],
        "doubled": ["commit"],
        "differing": [".mmpref/half.tmp", "b"],
    }


def test_changes_of_files_are_counted_and_the_process_ends_before_one(tmp_path: Path) -> None:
    """A file that is opened to write, a rename, and a folder that is taken away with its files."""
    script = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from killed_command import _watch
counted = []
_watch((sys.argv[2] + "/",), lambda: counted.append(1))
folder = Path(sys.argv[2])
(folder / "a").write_text("x")
(folder / "a").read_text()
Path(sys.argv[2] + "-elsewhere").write_text("x")
os.replace(folder / "a", folder / "b")
(folder / "c").mkdir()
(folder / "c/d").touch()
shutil.rmtree(folder / "c")
print(len(counted))
"""
    command = [sys.executable, "-c", script, str(SCRIPTS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 6  # opened, renamed, made, opened, and the folder with its file


def test_what_is_recorded_is_what_the_docs_say() -> None:
    found = json.loads((SCRIPTS / "random_kills.json").read_text())
    assert found["kills"] >= 200
    assert found["faults"] == 0
    assert found["commands"].keys() == COMMANDS
    signals = Counter[str]()
    for report in found["commands"].values():
        assert report["runs"] >= 3
        signals.update(report["kills"])
    assert min(signals[name] for name in ("SIGKILL", "SIGTERM", "SIGINT")) >= 40
    said = " ".join((SCRIPTS.parent / "docs/faults.md").read_text(encoding="utf-8").split())
    between = found["commands"]["publish"]["commits_between"]
    runs = sum(report["runs"] for report in found["commands"].values())
    assert f"{found['kills']} kills in {runs} runs, {between} commits of somebody else's" in said


@pytest.mark.long
def test_a_handful_of_kills_changes_nothing() -> None:
    command = [sys.executable, str(SCRIPTS / "random_kills.py"), "--kills", "12", "--seed", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert found["kills"] >= 12
    assert found["faults"] == 0
    assert found["commands"].keys() == COMMANDS
    assert all(report["runs"] for report in found["commands"].values())
    assert all(report["kills"] for report in found["commands"].values())
