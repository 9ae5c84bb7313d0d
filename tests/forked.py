"""Commands of mmpref in processes of their own that begin at once: each is forked off one that has imported what they
import, which takes longer than most of them work. Else it is a process like any other: it has its own environment,
folder, streams and end, and may be killed.

Libraries have read the ``HF_...`` variables when they were imported; who wants others starts a Python of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pkgutil
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from tests.conftest import QUIET

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.imported"])


class Forked:
    """A function at work in so many processes, which find each other as a launcher's do.

    Args:
        function: ``module:name``.
        arguments: of the function.
        folder: the working directory.
        environment: all variables.
    """

    def __init__(
        self,
        function: str,
        arguments: Sequence[Any],
        processes: int = 1,
        folder: Path = ROOT,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        self._streams = Path(tempfile.mkdtemp(prefix="mmpref-forked-"))
        weakref.finalize(self, shutil.rmtree, self._streams, ignore_errors=True)
        port = str(_free_port())
        _ensure_server()
        self._processes = []
        for rank in range(processes):
            variables = {**environment, **(_of_rank(rank, processes, port) if processes > 1 else {})}
            begun = (function, tuple(arguments), str(folder), variables, str(self._streams / str(rank)))
            process = _CONTEXT.Process(target=_begin, args=begun)
            process.start()
            self._processes.append(process)

    def poll(self) -> int | None:
        """The exit code (of a signal: less than 0) when all have ended; one that fails takes the others with it."""
        codes = [process.exitcode for process in self._processes]
        if any(codes):
            self.kill()
            return next(code for code in codes if code)
        return None if None in codes else 0

    def send_signal(self, number: int) -> None:
        for process in self._processes:
            if process.exitcode is None and process.pid:
                os.kill(process.pid, number)

    def kill(self) -> None:
        """SIGKILL to all of them, and to what they have started."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):  # it leads no group before its first line
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()

    def end(self, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        """Wait for the end, and give what they have said.

        Raises:
            TimeoutError: it takes longer; they are killed.
        """
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(self._said("err"))
            time.sleep(0.01)
        return subprocess.CompletedProcess((), code, self._said("out"), self._said("err"))

    def kill_once(self, folder: Path, ready: Callable[[], bool]) -> None:
        """Kill all when the work in a folder is so far; it must not be finished by then."""
        deadline = time.monotonic() + 300
        while not ready() and self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()
        assert not (folder / "run.json").is_file(), "it was too fast to be killed"

    def _said(self, stream: str) -> str:
        return "".join(path.read_text() for path in sorted(self._streams.glob(f"*.{stream}")))


def start(words: Sequence[object], processes: int = 1, **where: Any) -> Forked:
    """``mmpref WORDS...``."""
    return Forked("mmpref.cli.main:main", [[str(word) for word in words]], processes, **where)


def mmpref(words: Sequence[object], processes: int = 1, **where: Any) -> subprocess.CompletedProcess[str]:
    """A whole command, whatever its end."""
    return start(words, processes, **where).end()


def run(words: Sequence[object], processes: int = 1) -> subprocess.CompletedProcess[str]:
    """A whole command to its good end."""
    done = mmpref(words, processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def script(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python PATH WORDS...``, whatever its end."""
    return Forked("tests.forked:run_script", [str(path), words]).end()


def run_script(path: str, words: Sequence[str]) -> None:
    """In the process: be that program."""
    sys.argv = [path, *words]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def _begin(function: str, arguments: tuple[Any, ...], folder: str, variables: dict[str, str], streams: str) -> None:
    """In the process: become a program of its own, and do the work."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{streams}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    try:
        pkgutil.resolve_name(function)(*arguments)
    finally:
        atexit._run_exitfuncs()


def _of_rank(rank: int, processes: int, port: str) -> dict[str, str]:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    return {**{name: str(value) for name, value in own.items()}, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _ensure_server() -> None:
    """Start the process that others are forked off in the environment that tests begin with, whoever asks first."""
    changed, path = dict(os.environ), os.pathsep.join([str(ROOT), *ENVIRONMENT.get("PYTHONPATH", "").split(os.pathsep)])
    try:
        os.environ.clear()
        os.environ.update({**ENVIRONMENT, **QUIET, "PYTHONPATH": path})
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(changed)
