"""Files of a run: written whole or not at all, or a line at a time; with errors that a user can act on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpref.errors import RunError

_UNFINISHED = re.compile(r"\..+\.[0-9]+\.tmp")
"""Names of files that `write_atomic` is writing."""
OTHER_OUTPUT = "Choose another --output."
"""What to do where a run's folder cannot be written."""


def write_atomic(path: Path, content: bytes | str, hint: str = OTHER_OUTPUT) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new, never a part.

    Args:
        hint: what to do where it cannot be written there.

    Raises:
        RunError: the disk is full or refuses the write.
    """
    data = content.encode() if isinstance(content, str) else content
    # A name that no other has who writes the same file: containers that share a folder count processes alike.
    own = f"{os.getpid()}{secrets.randbelow(10**6):06d}"
    temporary = path.with_name(f".{path.name}.{own}.tmp")  # as `remove_unfinished` knows it
    with disk_errors(path, hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def open_weights(folder: Path) -> None:
    """Give files of weights in a folder, and below it, the mode of any new file: safetensors writes them for their
    owner alone, and who shares a folder could read all of a model but its weights. A file system that refuses stays as
    it is."""
    with tempfile.TemporaryDirectory(dir=folder) as probe:
        (Path(probe) / "new").touch()
        mode = (Path(probe) / "new").stat().st_mode & 0o777
    for file in folder.rglob("*.safetensors"):
        with contextlib.suppress(OSError):
            file.chmod(mode)


def remove_unfinished(folder: Path) -> None:
    """Take away what processes that were killed in `write_atomic` have left in a folder, and in those below it. Nobody
    may be writing there."""
    for file in folder.rglob(".*.tmp"):
        if _UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path, hint: str = OTHER_OUTPUT) -> Iterator[None]:
    """Turn the operating system's refusal to write into an error that a user can act on.

    Args:
        hint: what to do where it cannot be written there: which option or variable places it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(
                f"No room on the disk to write {path} ({error.strerror}).",
                "Free some space and run the same command again: finished work is kept.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise RunError(f"Cannot write {path} ({error.strerror}).", hint) from error
        raise


class JsonLines:
    """JSON objects that are appended to a file, one a line. A kill leaves at most a last line without its end, which
    counts for nothing.

    Args:
        path: the file; where it is missing there are no rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """The whole rows, in order."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace all rows, at once."""
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    @contextlib.contextmanager
    def appending(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Within it rows can be appended, by the one process that writes this file; each is on its way to the disk when
        the call returns.

        Raises:
            RunError: the disk is full or refuses the write.
        """
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._repair()
            with open(self.path, "a", encoding="utf-8") as file:

                def append(row: Mapping[str, Any]) -> None:
                    file.write(json.dumps(row) + "\n")
                    file.flush()

                yield append

    def _repair(self) -> None:
        """Cut off a last line that is not whole."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)


def content_address(digests: Iterable[tuple[str, str]]) -> str:
    """``sha256:...`` over files' relative paths and the SHA-256 (hex) of each."""
    digest = hashlib.sha256("".join(f"{path}\0{content}\n" for path, content in digests).encode())
    return f"sha256:{digest.hexdigest()}"
