"""The run directory: one lock, one recipe, atomic files, and ``run.json`` written last.

Layout: the artefacts a user wants, ``run.json`` (its existence means that the run is complete) and ``.mmpref/``
with what a restart needs (the recipe, the lock, finished pieces of work).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmpref.errors import RunError
from mmpref.recipe import as_plain, fingerprint

MANIFEST = "run.json"
STATE = ".mmpref"
_PACKAGES = ("mmpref", "torch", "transformers", "trl", "peft", "datasets", "huggingface-hub", "evaluate",
             "accelerate", "sentence-transformers")  # fmt: skip


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new, never a part.

    Raises:
        RunError: the disk is full or refuses the write.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path), open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into an error that a user can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(
                f"No room on the disk to write {path} ({error.strerror}).",
                "Free some space and run the same command again: finished work is kept.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(f"Cannot write {path} ({error.strerror}).", "Choose another --output.") from error
        raise


def read_manifest(path: Path) -> dict[str, Any]:
    """The ``run.json`` of a finished run.

    Raises:
        RunError: the directory is no finished run, or its manifest is damaged.
    """
    file = path / MANIFEST
    if not file.is_file():
        known = (path / STATE).is_dir()
        what = "is an unfinished run" if known else "is not a run directory"
        raise RunError(f"{path} {what} (no {MANIFEST}).", "Run the command that made it again." if known else "")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file} is not JSON: {error}.", "Delete it and run the command again.") from error
    if not isinstance(manifest, dict) or not {"command", "recipe"} <= manifest.keys():
        raise RunError(f"{file} is not a run manifest (it needs at least 'command' and 'recipe').")
    return manifest


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a run's bytes."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@dataclass(frozen=True)
class Run:
    """An open run directory. Make one with `open_run`.

    Args:
        path: the directory.
        command: the command that works in it, such as ``build-dataset``.
        recipe: its resolved recipe as plain values.
        recipe_hash: SHA-256 of the recipe.
        started: seconds since the epoch, for the manifest's timing.
    """

    path: Path
    command: str
    recipe: Mapping[str, Any]
    recipe_hash: str
    started: float

    @property
    def state(self) -> Path:
        """Folder for what a restart needs."""
        return self.path / STATE

    @property
    def finished(self) -> bool:
        return (self.path / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.path)

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``run.json``, the last file of a run. ``facts`` are JSON-ready (revisions, counts, timings...)."""
        manifest = {
            "command": self.command,
            "recipe": dict(self.recipe),
            "recipe_hash": self.recipe_hash,
            "versions": versions(),
            "seconds": round(time.time() - self.started, 3),
            **facts,
        }
        write_atomic(self.path / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        return manifest

    @contextlib.contextmanager
    def lock(self, name: str = "lock") -> Iterator[None]:
        """Hold the run's lock, so that two processes never work on the same piece.

        Raises:
            RunError: another process holds it.
        """
        import fcntl

        with open(self.state / name, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"Another process is working in {self.path}.", "Wait for it, or choose another --output."
                ) from error
            yield


def default_path(command: str, what: str, recipe: Any) -> Path:
    """``runs/<command>-<method or benchmarks>-<first 8 of the recipe hash>``: a repeat of a command resumes."""
    return Path("runs") / f"{command}-{what}-{fingerprint(recipe)[:8]}"


def open_run(path: Path, command: str, recipe: Any) -> Run:
    """Create or reopen a run directory for exactly this command and recipe.

    Raises:
        RunError: the directory belongs to another recipe, holds files that are no run, or cannot be written.
    """
    run = Run(path, command, as_plain(recipe), fingerprint(recipe), time.time())
    marker = run.state / "recipe.json"
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file.", "Choose another --output.")
    if marker.is_file():
        _refuse_other(run, json.loads(marker.read_text(encoding="utf-8")))
        return run
    if path.is_dir() and any(entry.name != STATE for entry in path.iterdir()):
        raise RunError(f"{path} is not empty and is not a run of mmpref.", "Choose another --output.")
    with disk_errors(path):
        run.state.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "recipe": run.recipe, "recipe_hash": run.recipe_hash}
    write_atomic(marker, json.dumps(content, indent=2) + "\n")
    return run


def _refuse_other(run: Run, found: Mapping[str, Any]) -> None:
    if found["command"] != run.command:
        raise RunError(f"{run.path} holds a run of `{found['command']}`.", "Choose another --output.")
    if found["recipe_hash"] == run.recipe_hash:
        return
    old, new = _flat(found["recipe"]), _flat(run.recipe)
    changed = [f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in sorted(old.keys() | new.keys())
               if old.get(key) != new.get(key)]  # fmt: skip
    shown = "; ".join(changed[:3]) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")
    raise RunError(f"{run.path} belongs to another recipe ({shown}).", "Choose another --output.")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
