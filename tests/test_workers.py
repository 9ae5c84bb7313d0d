"""Work ahead in other processes: the same results in the same order, and a death is told, never waited for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpref import workers as module
from mmpref.errors import ImageError
from mmpref.workers import DeadlyTask, WorkerPool, default_workers

DEADLY, WRONG = 13, 14


def square(number: int) -> int:
    if number == DEADLY:
        os._exit(1)
    if number == WRONG:
        raise ImageError("fourteen is no image.", "Take another.")
    return number * number


def process(_: int) -> int:
    return os.getpid()


def level(name: str) -> int:
    return logging.getLogger(name).level


@pytest.fixture
def pool() -> Iterator[WorkerPool[int, int]]:
    pool = WorkerPool(square, 2)
    yield pool
    pool.close()


def test_results_are_those_of_this_process_whatever_was_begun(pool: WorkerPool[int, int]) -> None:
    pool.begin([3, 4, 5, 4])
    assert [pool(number) for number in (5, 4, 6, 4, 3)] == [25, 16, 36, 16, 9]
    with pytest.raises(ImageError, match="fourteen") as told:
        pool(WRONG)
    assert told.value.hint == "Take another."


def test_a_task_that_ends_its_process_costs_no_other_one(pool: WorkerPool[int, int]) -> None:
    pool.begin([1, DEADLY, 2, 3])
    assert pool(1) == 1
    with pytest.raises(DeadlyTask):
        pool(DEADLY)
    pool.begin([4])
    assert [pool(number) for number in (2, 3, 4)] == [4, 9, 16]


def test_without_workers_all_is_done_here_and_when_it_is_asked_for() -> None:
    pool = WorkerPool(process, 0)
    pool.begin([1])
    assert pool(1) == os.getpid()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_item_is_begun_before_one_is_given_out(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(square, workers)
    told: list[str] = []
    monkeypatch.setattr(WorkerPool, "begin", lambda _, tasks: told.append(f"begin {list(tasks)}"))
    for item in pool.ahead(iter("abc"), lambda item: [ord(item)]):
        told.append(item)
    begun = ["begin [97]", "begin [98]", "a", "begin [99]", "b", "c"]
    assert told == (begun if workers else ["a", "b", "c"])


def test_libraries_are_as_quiet_in_a_worker_as_in_the_command_that_began_it() -> None:
    pool = WorkerPool(level, 1)
    assert pool("bitsandbytes") == logging.CRITICAL
    pool.close()


def test_a_script_that_cannot_be_imported_again_is_told_so(tmp_path: Path) -> None:
    """Processes begin by importing the script that was started; one without a guard would start itself again."""
    script = tmp_path / "script.py"
    script.write_text("from mmpref.workers import WorkerPool\nprint(WorkerPool(abs, 1)(-3))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert "mmpref.errors.RunError: The processes that prepare images end as soon as they are started." in done.stderr
    assert "if __name__ == '__main__':" in done.stderr
    script.write_text(
        "from mmpref.workers import WorkerPool\nif __name__ == '__main__':\n    print(WorkerPool(abs, 1)(-3))\n"
    )
    assert subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout == "3\n"


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time\nfrom mmpref.workers import WorkerPool\nfrom tests.test_workers import process\n"
        "if __name__ == '__main__':\n    print(WorkerPool(process, 1)(0), flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until = time.time() + 30
    while _runs(worker) and time.time() < until:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [(1, 1, 1), (2, 1, 1), (16, 1, 15), (64, 1, 16), (64, 8, 7), (8, 8, 1)]
)
def test_a_model_is_given_the_cores_of_its_share_of_the_machine(
    cores: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert default_workers(accelerator=True) == expected
    assert default_workers(accelerator=False) == 0
