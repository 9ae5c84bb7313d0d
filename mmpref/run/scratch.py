"""Folders for the time of a command. Where one was killed before it could take its folder away, the next one does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmpref.run.files import disk_errors

_LOCK = ".mmpref-lock"


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A new, empty folder among the machine's temporary files, which is gone after the block.

    Folders that processes of the same user left behind when they were killed are taken away first: whoever is at work
    holds a lock on its own, which the system takes from the dead.

    Args:
        name: what it is for; a part of its path.

    Raises:
        RunError: no room on the disk.
    """
    _remove_abandoned()
    around = Path(tempfile.mkdtemp(prefix=f"mmpref-{name}-"))
    try:
        with open(around / _LOCK, "wb", buffering=0) as lock:
            with disk_errors(around):
                fcntl.flock(lock, fcntl.LOCK_EX)
                lock.write(b"%d\n" % os.getpid())  # as long as it is empty, nobody takes the folder for abandoned
                folder = around / name
                folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(around, ignore_errors=True)


def _remove_abandoned() -> None:
    for around in Path(tempfile.gettempdir()).glob("mmpref-*"):
        with contextlib.suppress(OSError), open(around / _LOCK, "r+b") as lock:
            if os.fstat(lock.fileno()).st_uid != os.getuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.read():
                shutil.rmtree(around, ignore_errors=True)
