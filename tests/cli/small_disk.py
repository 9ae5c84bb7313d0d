"""Commands on a disk that is full, in a namespace of their own: ``unshare -rm python -m tests.cli.small_disk DIR``.

The disk is a real one in memory. Before each try a file takes all of it but some kilobytes; what a command then says is
kept, and at last it runs with the room that it needs. Then the disk is mounted to be read only.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

SMALL = {
    "build-dataset": ["--method", "mismatched", "--limit", "12", "--set", "block_size=3"],
    "train": [
        *("--set", "trainer.max_steps=2", "--set", "trainer.save_steps=1", "--set", "trainer.logging_steps=1"),
        *("--set", "trainer.per_device_train_batch_size=2", "--set", "lora.r=4"),
    ],
    "evaluate": ["--benchmark", "pope", "--limit", "6", "--batch-size", "2"],
}
FREE = (0, 8, 40, 100, 400, 1200)
"""Kilobytes that are left."""


def mmpref(*arguments: str) -> tuple[int, str]:
    """Exit status and what went to stderr."""
    from mmpref.cli.main import main
    from mmpref.log import logger

    logger.handlers.clear()
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(list(arguments))
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    raise AssertionError("the program exits")


def fill(disk: Path, left: int) -> Path:
    """Leave so many kilobytes of a disk."""
    free = os.statvfs(disk)
    path = disk / "filler"
    path.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left * 1024)))
    return path


def digests(run: Path) -> dict[str, str]:
    files = (file for file in run.rglob("*") if file.is_file() and ".mmpref" not in file.parts)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.name != "run.json"}


def main(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    inputs = {
        "build-dataset": [],
        "train": ["--dataset", str(folder / "build-dataset")],
        "evaluate": ["--adapter", str(folder / "train")],
    }
    tries = []
    for command, options in SMALL.items():
        given = [command, *options, *inputs[command]]
        assert mmpref(*given, "--output", str(folder / command))[0] == 0
        for left in FREE:
            filler = fill(disk, left)
            code, said = mmpref(*given, "--output", str(disk / command))
            tries.append([command, left, code, said])
            filler.unlink()
            if code == 0:
                break
        code, said = mmpref(*given, "--output", str(disk / command))
        tries.append([command, "all", code, said])
        assert digests(disk / command) == digests(folder / command), command
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command, options in SMALL.items():
        code, said = mmpref(command, *options, *inputs[command], "--output", str(disk / "new"))
        tries.append([command, "read-only", code, said])
    print(json.dumps(tries))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
