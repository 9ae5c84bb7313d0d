"""The run directory: one lock, one recipe, atomic files, and ``run.json`` written last.

Layout: the artefacts a user wants, ``run.json`` (its existence means that the run is complete) and ``.mmpref/``
with what a restart needs (the recipe, the lock, finished pieces of work).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mmpref.errors import RunError, StaleRunError
from mmpref.recipes.schema import as_plain, fingerprint
from mmpref.run.files import disk_errors, remove_unfinished, write_atomic
from mmpref.run.manifest import MANIFEST, STATE, read_manifest, versions

WriteCard = Callable[[Path, dict[str, Any]], None]
"""Writes ``README.md`` of a run from its directory and what ``run.json`` will hold."""
_MARKER = "recipe.json"
"""In the state: whose run it is."""
_HEARTBEAT = 1.0  # seconds
_locks: set[IO[str]] = set()
"""Open files of the locks that this process holds."""


def _close_locks() -> None:
    for file in _locks:
        file.close()


# A worker process that is forked has the lock's file open too, and would hold the lock on after its parent was killed.
os.register_at_fork(after_in_child=_close_locks)


@contextlib.contextmanager
def _place_errors(path: Path) -> Iterator[None]:
    """As `disk_errors`, for paths that cannot be too: below a file, in /proc, too long, in a circle of links."""
    try:
        with disk_errors(path):
            yield
    except OSError as error:
        raise RunError(f"Cannot write {path} ({error.strerror}).", "Choose another --output.") from error


@dataclass(frozen=True)
class Run:
    """An open run directory. Make one with `open_run`.

    Args:
        path: the directory.
        command: the command that works in it, such as ``build-dataset``.
        recipe: its resolved recipe as plain values.
        recipe_hash: SHA-256 of the recipe.
        started: seconds since the epoch, for the manifest's timing.
        created: whether this process has made the directory.
        held: names of the locks that this process holds.
        begun: when that was on a clock that nobody sets.
    """

    path: Path
    command: str
    recipe: Mapping[str, Any]
    recipe_hash: str
    started: float
    created: bool = False
    held: set[str] = field(default_factory=set, compare=False)
    begun: float = field(default_factory=time.monotonic, compare=False)

    @property
    def state(self) -> Path:
        """Folder for what a restart needs."""
        return self.path / STATE

    @property
    def identity(self) -> dict[str, Any]:
        """What its marker, its manifest and its card have in common."""
        return {"command": self.command, "recipe": dict(self.recipe), "recipe_hash": self.recipe_hash}

    @property
    def _heartbeats(self) -> Path:
        return self.state / "worked"

    @property
    def finished(self) -> bool:
        return (self.path / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.path)

    def pinned(self, name: str) -> dict[str, Any]:
        """The facts of that name that the run began with; empty where none are pinned yet."""
        path = self.state / f"{name}.json"
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return facts

    def pin(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Keep facts that a restart must go on with, the first time; of processes that do so at once, the first one's.

        Args:
            name: of a file in the state.
            facts: JSON-ready.

        Returns:
            Those that the run began with.
        """
        with self._alone():
            if not self.pinned(name):
                write_atomic(self.state / f"{name}.json", json.dumps(facts, indent=2) + "\n")
            return self.pinned(name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process looks at what a run begins with, or writes it."""
        import fcntl

        with open(self.state / "claim-lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def finish(self, facts: Mapping[str, Any], write_card: WriteCard | None = None) -> dict[str, Any]:
        """Write the card, where there is one, and ``run.json``, the last file of a run. ``facts`` are JSON-ready
        (revisions, counts, timings...).

        ``seconds`` are those in which at least one process was at work in the directory: a run that was killed and
        went on counts all its processes, the pauses between them do not count, and shards at the same time count once.
        """
        facts = {**_job(), **facts}
        remove_unfinished(self.path)
        if write_card:
            write_card(self.path, {**self.identity, **facts})
        manifest = {
            **self.identity,
            "versions": versions(),
            "seconds": round(_together([*self._worked(), (self.started, self._now())]), 3),
            **facts,
        }
        write_atomic(self.path / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        shutil.rmtree(self._heartbeats, ignore_errors=True)
        return manifest

    @contextlib.contextmanager
    def discard_on_failure(self, has_progress: Callable[[], bool], scratch_files: Sequence[str] = ()) -> Iterator[None]:
        """A mistyped model or source must not claim the directory for its recipe: where the work under this process's
        lock fails, and there is nothing that a restart would go on from, the claim is taken back.

        An interrupt keeps it, and so does another process that works in the directory.

        Args:
            has_progress: whether there is something to go on from in the state.
            scratch_files: files beside the state that are worth nothing then; any other file keeps the directory.
        """
        try:
            yield
        except Exception:
            with contextlib.suppress(OSError):
                others = {entry.name for entry in self.path.iterdir()} - {STATE, *scratch_files}
                if not others and not has_progress():
                    self._forget(scratch_files)
            raise

    def _forget(self, scratch_files: Sequence[str]) -> None:
        """Take away the state, and the directory if this process has made it, unless another process works here."""
        with contextlib.ExitStack() as stack:
            for path in (*self.state.glob("lock*"), *self.state.glob("*-lock")):
                if path.name not in self.held and not _flock(stack.enter_context(open(path, "w"))):
                    return
            for name in scratch_files:
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.state, ignore_errors=True)
            if self.created:
                with contextlib.suppress(OSError):
                    self.path.rmdir()

    @contextlib.contextmanager
    def lock(self, name: str = "lock") -> Iterator[None]:
        """Hold the run's lock, so that two processes never work on the same piece. The time is counted.

        Raises:
            RunError: another process holds it.
        """
        path = self.state / name
        given_up = RunError(f"Another process has just given up {self.path}.", "Run the same command again.")
        try:
            with disk_errors(path):
                file = open(path, "w")  # noqa: SIM115
        except FileNotFoundError as error:
            raise given_up from error
        with file:
            if not _flock(file):
                raise RunError(
                    f"Another process is working in {self.path}.", "Wait for it, or choose another --output."
                )
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                raise given_up
            self.held.add(name)
            _locks.add(file)
            try:
                with contextlib.nullcontext() if self.finished else self._counted():
                    yield
            finally:
                self.held.discard(name)
                _locks.discard(file)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Leave heartbeats: a file that tells this process's beginning by its name and its end by its time."""
        heartbeat = self._heartbeats / f"{self.started:.6f}-{os.getpid()}"
        with contextlib.suppress(OSError):  # A time that is not counted stops no work.
            heartbeat.parent.mkdir(exist_ok=True)
            heartbeat.touch()
        done = threading.Event()

        def beat() -> None:
            while not done.wait(_HEARTBEAT):
                with contextlib.suppress(OSError):
                    os.utime(heartbeat, (now := self._now(), now))

        thread = threading.Thread(target=beat, name="mmpref-seconds", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            with contextlib.suppress(OSError):
                os.utime(heartbeat, (now := self._now(), now))

    def _now(self) -> float:
        """Seconds since the epoch, as if the machine's clock had not been set since the run was opened."""
        return self.started + time.monotonic() - self.begun

    def _worked(self) -> list[tuple[float, float]]:
        """From when to when each process worked here, as far as the last heartbeat tells."""
        heartbeats = self._heartbeats.glob("*-*")
        return [(float(heartbeat.name.partition("-")[0]), heartbeat.stat().st_mtime) for heartbeat in heartbeats]


def _job() -> dict[str, str]:
    """The Hub's job that this process is, which names itself in its environment (and so TRL finds it too)."""
    return {"job": job} if (job := os.environ.get("JOB_ID")) else {}


def _flock(file: IO[str]) -> bool:
    """Lock an open file for this process until it is closed, unless another one has done so."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _together(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that at least one of the spans covers."""
    total, reached = 0.0, -math.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def default_path(command: str, what: str, recipe: Any) -> Path:
    """``runs/<command>-<method or benchmarks>-<first 8 of the recipe hash>``: a repeat of a command resumes."""
    return Path("runs") / f"{command}-{what}-{fingerprint(recipe)[:8]}"


def is_finished_run_of(path: Path, recipe_hash: str) -> bool:
    """Whether a folder holds the finished run of this very recipe: nothing that it names is needed any more."""
    marker = path / STATE / _MARKER
    if not (path / MANIFEST).is_file() or not marker.is_file():
        return False
    return bool(json.loads(marker.read_text(encoding="utf-8"))["recipe_hash"] == recipe_hash)


def open_run(path: Path, command: str, recipe: Any) -> Run:
    """Create or reopen a run directory for exactly this command and recipe.

    Raises:
        RunError: the directory belongs to another recipe, holds files that are no run, or cannot be written.
    """
    with _place_errors(path):
        run = Run(path, command, as_plain(recipe), fingerprint(recipe), time.time(), created=not path.exists())
        marker = run.state / _MARKER
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file.", "Choose another --output.")
        if marker.is_file():
            _refuse_other(run, json.loads(marker.read_text(encoding="utf-8")))
            if run.finished:  # by a process that may have been killed right then
                shutil.rmtree(run._heartbeats, ignore_errors=True)
            return run
        if path.is_dir() and any(entry.name != STATE for entry in path.iterdir()):
            raise RunError(f"{path} is not empty and is not a run of mmpref.", "Choose another --output.")
        run.state.mkdir(parents=True, exist_ok=True)
        _claim(run, marker)
    return run


def _claim(run: Run, marker: Path) -> None:
    """Write the marker, unless another process, of this recipe or another one, does so at the same time."""
    with run._alone():
        if marker.is_file():
            _refuse_other(run, json.loads(marker.read_text(encoding="utf-8")))
        else:
            write_atomic(marker, json.dumps(run.identity, indent=2) + "\n")


def _refuse_other(run: Run, marker: Mapping[str, Any]) -> None:
    if marker["command"] != run.command:
        raise RunError(f"{run.path} holds a run of `{marker['command']}`.", "Choose another --output.")
    if marker["recipe_hash"] == run.recipe_hash:
        return
    old, new = _flat(marker["recipe"]), _flat(run.recipe)
    changed = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    shown = "; ".join(changed[:3]) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")
    raise StaleRunError(f"{run.path} belongs to another recipe ({shown}).", run.path)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
