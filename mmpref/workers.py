"""Processes that do work ahead of this one, so that it is there when it is asked for."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from mmpref.errors import RunError
from mmpref.log import quiet_libraries

Task = TypeVar("Task", bound=Hashable)
Result = TypeVar("Result")
Item = TypeVar("Item")

MOST = 16
"""Processes that one model is given where nobody says how many."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's ``mallopt``."""
_LARGEST = 2**25
"""The largest threshold that it takes, in bytes."""


class DeadlyTask(Exception):
    """A task ends the process that does it."""


def default_workers(accelerator: bool) -> int:
    """How many processes should work ahead of a model: none where the model itself needs the cores, and beside an
    accelerator as many as the cores of this process's share of the machine leave, at least one and at most `MOST`."""
    if not accelerator:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


class WorkerPool(Generic[Task, Result]):
    """Does tasks in worker processes, begun before their results are asked for. The results are those of this process,
    whatever the number of workers; a task that ends its process costs no other one.

    Args:
        work: what is done with a task; it is pickled once for each process, which has one thread.
        workers: how many processes; with 0 everything is done here, when it is asked for.
    """

    def __init__(self, work: Callable[[Task], Result], workers: int) -> None:
        self.workers = workers
        self._work = work
        self._executor: ProcessPoolExecutor | None = None
        self._begun: defaultdict[Task, deque[Future[Result]]] = defaultdict(deque)

    def begin(self, tasks: Iterable[Task]) -> None:
        """Start on tasks whose results will be asked for soon."""
        if self.workers:
            for task in tasks:
                self._begun[task].append(self._submit(task))

    def __call__(self, task: Task) -> Result:
        """The result of a task, begun or not.

        Raises:
            DeadlyTask: it ended its process.
            RunError: no process can be started at all, or the process was killed, twice: systems that are short of
                memory do so, which is no task's fault.
            Exception: whatever the work raises.
        """
        if not self.workers:
            return self._work(task)
        futures = self._begun.get(task)
        future = futures.popleft() if futures else self._submit(task)
        if not futures:
            self._begun.pop(task, None)
        try:
            return future.result()
        except (BrokenProcessPool, CancelledError):
            return self._alone(task)

    def ahead(self, items: Iterable[Item], tasks: Callable[[Item], Iterable[Task]], depth: int = 1) -> Iterator[Item]:
        """The items in their order, each when the tasks of so many further ones have been begun."""
        if not self.workers:
            yield from items
            return
        waiting: deque[Item] = deque()
        for item in items:
            self.begin(tasks(item))
            waiting.append(item)
            if len(waiting) > depth:
                yield waiting.popleft()
        yield from waiting

    def _alone(self, task: Task) -> Result:
        """Once a process has died, by this task or by another one that was in work: only its own death counts."""
        self.close()
        try:
            self._started().submit(_nothing).result()
        except BrokenProcessPool as error:
            self.close()
            raise RunError(
                "The processes that prepare images end as soon as they are started.",
                "A script that calls mmpref needs `if __name__ == '__main__':` around the call; or let this process do "
                "it, with workers=0 (--workers=0).",
            ) from error
        processes = multiprocessing.active_children()  # before the task: one that dies at once is none of them after it
        future = self._submit(task)
        processes += multiprocessing.active_children()
        try:
            return future.result()
        except BrokenProcessPool as error:
            self._started().shutdown()  # its thread reaps the processes: until it has, how they ended may be unknown
            self.close()
            if any(process.exitcode == -signal.SIGKILL for process in processes):
                raise RunError(
                    "A process that prepares images was killed twice.",
                    "Mostly the machine has too little memory: use fewer --workers. The same command goes on.",
                ) from error
            raise DeadlyTask from error

    def _submit(self, task: Task) -> Future[Result]:
        try:
            return self._started().submit(_do, task)
        except BrokenProcessPool:  # it broke since the last task; what was begun in it is done again when asked for
            self._end_processes()
            return self._started().submit(_do, task)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # Spawned: a forked copy of a process that uses an accelerator, or threads, may hang.
            spawn = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.workers, spawn, _start, (self._work,))
        return self._executor

    def _end_processes(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def close(self) -> None:
        """End the processes; what they have not finished is forgotten."""
        self._end_processes()
        self._begun.clear()


_work: Callable[[Any], Any]


def _start(work: Callable[[Any], Any]) -> None:
    """The beginning of a worker process."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that is interrupted ends its workers
    atexit.register(gc.freeze)  # no last look for garbage, which the process that waits for its end would wait for
    end_with_parent()
    quiet_libraries()
    _keep_memory()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _keep_memory() -> None:
    """glibc hands large arrays back to the system as soon as they are freed, which has to clear the pages of the next
    ones again: a large part of what an image of several tiles takes. Here they are kept for the next image."""
    with contextlib.suppress(AttributeError, OSError):  # of another C library
        for option, value in ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, 2**31 - 1)):
            ctypes.CDLL(None).mallopt(option, value)


def end_with_parent() -> None:
    """From now on this process ends when the one that started it does. One whose parent was killed would work on,
    beside whoever does the same work again, and then wait for tasks for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _do(task: Any) -> Any:
    return _work(task)


def _nothing() -> None:
    """A task that only needs a process."""
