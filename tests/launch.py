"""Commands as a launcher starts them: several processes on this machine's CPU."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ENVIRONMENT = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a whole command to its good end."""
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def kill_once(words: Sequence[str], folder: Path, ready: Callable[[], bool]) -> None:
    """Start a whole command that works in a folder, and kill its launcher and all its processes when it is ready."""
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launched:
        deadline = time.monotonic() + 300
        while not ready() and launched.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        while own := _at_work_in(folder):
            for process in own:  # workers lead sessions of their own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
            launched.poll()
    assert not (folder / "run.json").is_file(), "it was too fast to be killed"


def _at_work_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(folder) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
