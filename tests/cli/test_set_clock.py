"""A clock that jumps by a day, back and forth, while commands work: nothing is lost, and no time is negative."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import bare
from tests.cli.small_disk import SMALL, digests

SCRIPT = """
import runpy, sys, time

real, calls = time.time, 0


def jumping():
    global calls
    calls += 1
    return real() + (0, 86_400, -86_400)[calls // 7 % 3]


if sys.argv.pop(1) == "set":
    time.time = jumping
runpy.run_module("mmpref", run_name="__main__", alter_sys=True)
"""


@pytest.mark.long
def test_nothing_depends_on_a_clock_that_is_set(hub_env: dict[str, str], tmp_path: Path) -> None:
    inputs = {
        "build-dataset": [],
        "train": ["--dataset", str(tmp_path / "real/build-dataset")],
        "evaluate": ["--adapter", str(tmp_path / "real/train")],
    }
    for command, options in SMALL.items():
        for clock in ("real", "set", "set"):  # the last one finds all done
            run = tmp_path / clock / command
            words = [clock, command, *options, *inputs[command], "--output", str(run)]
            done = bare.python(SCRIPT, *words, environment=hub_env)
            assert done.returncode == 0, done.stderr
            assert "Warning" not in done.stderr
            assert 0 <= json.loads((run / "run.json").read_text())["seconds"] < 3600
        assert digests(tmp_path / "real" / command) == digests(run)
