"""Running a study: what is missing, in one process or several, until it is done or its time is used up."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmpref.errors import MmprefError, RunError, reason_of
from mmpref.log import errors_only, logger, quiet_libraries
from mmpref.run.directory import Run
from mmpref.run.files import disk_errors
from mmpref.study import work
from mmpref.study.bases import Bases
from mmpref.study.measurement import Failure
from mmpref.study.plan_types import KlPrompts, Plan
from mmpref.study.schedule import Schedule, Unit
from mmpref.study.sharing import keep_plan, refuse_others
from mmpref.study.targets import select
from mmpref.workers import end_with_parent

Say = Callable[[str], None]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """How a session of a study ended.

    Args:
        runs: of the rows that were wanted.
        left: of them not measured.
        failures: runs and points that failed in this session.
        out_of_time: it stopped because its time was used up.
    """

    runs: int
    left: int
    failures: Sequence[Failure]
    out_of_time: bool


def run(
    plan: Plan,
    folder: Path,
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    minutes: float | None = None,
    say: Say = logger.info,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Do what is missing of a study; interrupted anywhere, the same call goes on.

    Args:
        folder: of the study; its ledger is ``ledger/``.
        only: patterns of row names.
        jobs: processes; the ledger's bytes do not depend on it.
        minutes: nothing is begun after so many.
        say: is told what is begun and what has failed.
        on_progress: is told how many runs are measured, of how many: before the first, and after each.

    Raises:
        UsageError: a pattern that is no row's.
        RunError: another process works on the study, it would replace what another plan has measured there, or the
            disk is full or refuses the write.
    """
    rows = select(plan, only)
    study = Run(folder, "reproduce", {}, "", time.time())
    with disk_errors(folder):
        study.state.mkdir(parents=True, exist_ok=True)
    with study.lock():
        schedule = Schedule(plan, folder, rows)
        refuse_others(schedule)
        keep_plan(schedule)
        return _run(schedule, jobs, minutes, say, on_progress or (lambda measured, runs: None))


def _run(schedule: Schedule, jobs: int, minutes: float | None, say: Say, on_progress: OnProgress) -> Outcome:
    plan, folder = schedule.plan, schedule.folder
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    running: dict[Future[work.Measured | None], Unit] = {}
    out_of_time = False
    runs = len(schedule.targets)
    on_progress(runs - len(schedule.missing()), runs)
    with _executor(jobs) as submit:
        while True:
            while len(running) < jobs and not out_of_time and (unit := schedule.next()):
                if time.monotonic() >= deadline:
                    out_of_time = True
                    break
                say(_title(unit))
                running[submit(unit, plan.bases, plan.kl, folder)] = unit
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda one: running[one].key):
                unit = running.pop(future)
                _take(schedule, unit, future, say)
                if unit.job and not unit.job.is_grid_point:
                    on_progress(runs - len(schedule.missing()), runs)
    left = len(schedule.missing())
    return Outcome(len(schedule.targets), left, list(schedule.failures.values()), out_of_time)


def perform(unit: Unit, bases: Bases, kl: KlPrompts | None, folder: Path) -> work.Measured | None:
    """Do a unit, in whichever process."""
    with errors_only(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between libraries, for them to settle
        if unit.step:
            work.do(unit.step, bases)
            return None
        assert unit.job is not None
        return work.measure(unit.job, unit.splits, kl, folder)


def _take(schedule: Schedule, unit: Unit, future: Future[work.Measured | None], say: Say) -> None:
    """Keep what a unit gave, or why it failed."""
    try:
        measured = future.result()
    except BrokenProcessPool as error:
        raise RunError(
            f"A process was killed from outside, at {_title(unit)}: is there too little memory?",
            "Run the same command again, with fewer --jobs: finished work is kept.",
        ) from error
    except Exception as error:
        reason = str(error) if isinstance(error, MmprefError) else f"{type(error).__name__}: {reason_of(error)}"
        say(f"Failed: {_title(unit)}: {reason}")
        schedule.failed(unit, reason)
        return
    schedule.finished(unit, *(measured or ((), ())))
    if unit.job and not unit.job.is_grid_point:
        for leftover in schedule.leftovers(unit.job):
            shutil.rmtree(leftover, ignore_errors=True)


def _title(unit: Unit) -> str:
    return unit.step.what if unit.step else f"measuring {unit.key}"


@contextmanager
def _executor(jobs: int) -> Iterator[Callable[..., Future[work.Measured | None]]]:
    """Submits units to so many processes; one works in this process."""
    if jobs == 1:
        yield _at_once
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with _environment({"OMP_NUM_THREADS": "1"}), ProcessPoolExecutor(jobs, context, _begin) as pool:
        try:
            yield lambda *arguments: pool.submit(perform, *arguments)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin() -> None:
    """The beginning of a process that works on units."""
    end_with_parent()
    quiet_libraries()


def _at_once(*arguments: object) -> Future[work.Measured | None]:
    future: Future[work.Measured | None] = Future()
    try:
        future.set_result(perform(*arguments))  # type: ignore[arg-type]
    except Exception as error:
        future.set_exception(error)
    return future


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes begin with, within."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
