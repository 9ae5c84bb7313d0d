"""A disk that is full, and one that is read only: real ones. What a command says, and that it then goes on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _may_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.long
def test_full_and_read_only_disks(tmp_path: Path) -> None:
    if not _may_mount():
        pytest.skip("this system lets nobody mount a disk in a namespace of his own")
    command = ["unshare", "-rm", sys.executable, "-m", "tests.cli.small_disk", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    tries = json.loads(done.stdout)
    full = [(command, said) for command, left, code, said in tries if left not in ("all", "read-only") and code]
    for name in ("build-dataset", "train", "evaluate"):
        assert sum(command == name for command, _ in full) >= 2, "it was full at more than one moment"
    for name, said in full:
        [error] = re.findall("^Error: .*$", said, re.MULTILINE)
        assert re.match(r"Error: (No room on the disk to write|Cannot write) .*/disk/.*space", error), (name, error)
        assert re.search("same command again", error), (name, error)
    assert [code for _, left, code, _ in tries if left == "all"] == [0, 0, 0]
    for name, left, code, said in tries:
        if left == "read-only":
            assert code == 1, name
            assert re.search(r"^Error: Cannot write .*/disk/new.*[Rr]ead-only file system", said, re.MULTILINE), said
