"""A clock that jumps by a day, back and forth, while commands work: nothing is lost, and no time is negative."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from mmpref.cli.main import main
from tests.cli.small_disk import SMALL, digests
from tests.forked import Forked


def run(clock: str, words: list[str]) -> None:
    """In a process of its own: ``mmpref WORDS...``, by the real clock or by one that is ``set``."""
    if clock == "set":
        real, calls = time.time, itertools.count(1)
        time.time = lambda: real() + (0, 86_400, -86_400)[next(calls) // 7 % 3]
    main(words)


@pytest.mark.long
def test_nothing_depends_on_a_clock_that_is_set(tmp_path: Path) -> None:
    inputs = {
        "build-dataset": [],
        "train": ["--dataset", str(tmp_path / "real/build-dataset")],
        "evaluate": ["--adapter", str(tmp_path / "real/train")],
    }
    for command, options in SMALL.items():
        for clock in ("real", "set", "set"):  # the last one finds all done
            output = tmp_path / clock / command
            words = [command, *options, *inputs[command], "--output", str(output)]
            done = Forked("tests.cli.test_set_clock:run", [clock, words]).end()
            assert done.returncode == 0, done.stderr
            assert "Warning" not in done.stderr
            assert 0 <= json.loads((output / "run.json").read_text())["seconds"] < 3600
        assert digests(tmp_path / "real" / command) == digests(output)
