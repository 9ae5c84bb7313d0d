"""Folders for the time of a command, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmpref.run.scratch import scratch

HOLD = """
import sys, time
from mmpref.run.scratch import scratch

with scratch("publish") as folder:
    (folder / "weights").write_bytes(b"w")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_left_goes_and_what_others_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "mmpref-of-somebody").mkdir()
    at_work = [subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        folders = [Path(process.stdout.readline().strip()) for process in at_work if process.stdout]
        at_work[0].send_signal(signal.SIGKILL)
        at_work[0].wait()
        assert (folders[0] / "weights").is_file(), "the dead leave everything"
        with scratch("merged") as mine:
            assert list(mine.iterdir()) == []
            assert not folders[0].parent.exists()
            assert (folders[1] / "weights").is_file()
            with scratch("publish"):
                assert mine.is_dir(), "a process may hold two"
        assert not mine.parent.exists()
    finally:
        for process in at_work:
            process.kill()
            process.wait()
    assert (tmp_path / "mmpref-of-somebody").is_dir()


def test_a_failure_takes_the_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), scratch("space"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
