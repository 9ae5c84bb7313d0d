"""A command of mmpref in a process of its own, which may end itself by a signal in the midst of changing files."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SAID, SPENT = "said.log", "spent.json"
"""Files of a command's folder: what it said, and what it took."""
_POLITE = (signal.SIGINT, signal.SIGTERM)
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
"""Events of Python (PEP 578) that change a folder, beside opening a file to write."""


def run(arguments: Sequence[str], folder: str, watched: Sequence[str], number: int, ends_at: int | None) -> None:
    """Run a command as the program does.

    Args:
        folder: where it leaves what it said, how many changes it made to files, and the seconds of CPU that it took.
        watched: folders; changes below them count.
        number: of the signal.
        ends_at: the change before which the process sends itself the signal; None for never.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _POLITE)  # what is ours here is not the command
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    log = os.open(f"{folder}/{SAID}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    changes = 0

    def count() -> None:
        nonlocal changes
        changes += 1
        if changes == ends_at:
            os.kill(os.getpid(), number)

    _watch(tuple(f"{path}/" for path in watched), count)
    from mmpref.cli.main import main

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _POLITE)
        main(list(arguments))
    except KeyboardInterrupt:  # before the program could catch it
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _POLITE)
        for polite in _POLITE:  # one that has come is handled from here on: the command is over
            signal.signal(polite, lambda *_: None)
        spent = {"changes": changes, "seconds": time.process_time()}
        Path(folder, SPENT).write_text(json.dumps(spent))


def _watch(folders: tuple[str, ...], count: Callable[[], None]) -> None:
    """Call ``count`` before every change of a file or folder below the folders."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        elif event in _CHANGES:
            path, changes = arguments[0], True
        else:
            return
        in_open_folder = event == "os.remove" and arguments[1] >= 0  # as rmtree does it
        if changes and isinstance(path, str | os.PathLike) and (in_open_folder or str(path).startswith(folders)):
            count()

    sys.addaudithook(hook)
