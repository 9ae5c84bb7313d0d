"""Commands that are killed at random moments and started again: nothing lost, nothing doubled, equal bytes.

    python scripts/random_kills.py                            # 200 kills of seed 0, over all commands
    python scripts/random_kills.py --record                   # the same, into scripts/random_kills.json
    python scripts/random_kills.py --kills 10 --seed 3 --command publish

build-dataset, train, evaluate and publish run on the testbed at a tiny scale, publish against a server of the Hub's
protocol on loopback. Each is ended by SIGKILL, SIGTERM or SIGINT and started again by the same command line, over and
over, until it has finished. The moment is drawn: after some seconds of CPU, before some change of a file, or while the
Hub has some request of the command, whose answer never comes (the Hub does what it was asked before the kill, or after
it, or after the command's next try). Before half of the commits to the Hub somebody else commits to the same
repository. What is there in the end is then compared with what an undisturbed run left: rows, steps, answers, commits
and tags one by one, and the bytes of every file (of run.json without its seconds). The exit status is 1 where anything
is lost, doubled or different, or where a command failed by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import killed_command
import psutil
from kill_targets import USER, Left, PublishTarget, RunTarget, Target, differences, publish_results, publish_targets

if TYPE_CHECKING:
    from tests.hub.server import HubServer

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_suffix(".json")
SHARES = {"build-dataset": 0.16, "train": 0.08, "evaluate": 0.08, "publish": 0.68}
"""Of the kills: a try of publish takes a tenth of the time of another one, and happens on a server that others use."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST_FAILURES = 5
PRELOAD = ["mmpref.hub.publish_run", "mmpref.cli.publish", "tests.imported"]
"""Imported once; every try of a command is a fork of that process."""


@dataclass(frozen=True)
class Death:
    """How a process ends.

    Args:
        signal: that it gets.
        moment: ``time``, ``change`` or ``request``.
        at: seconds of CPU, or the number of a change of a file, or of a call of the endpoint.
        endpoint: of the Hub; its call is not answered.
        done: whether the Hub does the call before the kill.
        held: it does it only after the command's next try.
    """

    signal: signal.Signals
    moment: str
    at: float
    endpoint: str = ""
    done: bool = False
    held: bool = False


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to: what it left, and the changes to files, seconds of CPU and calls of the Hub's
    endpoints, in order, that it took."""

    left: Left
    changes: int
    seconds: float
    calls: Sequence[str]


@dataclass
class Report:
    """What became of the runs of a command."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    commits_between: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.differing, *self.failed]

    def as_dict(self) -> dict[str, Any]:
        counted = {"kills": dict(sorted(self.kills.items())), "moments": dict(sorted(self.moments.items()))}
        return {**asdict(self), **counted}


class Laboratory:
    """Starts commands, and ends them.

    Args:
        hub: where they publish.
        draws: of moments and signals.
    """

    def __init__(self, hub: HubServer, draws: random.Random) -> None:
        self._hub, self._draws = hub, draws
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._held: list[Any] = []
        """Calls of killed processes that the Hub has still to do."""

    def undisturbed(self, target: Target, folder: Path) -> Undisturbed:
        """Run a command to its end."""
        self._begin(target, folder)
        self._hub.faults.clear()
        if self._attempt(target, folder, None):
            raise SystemExit(f"{target.name} failed undisturbed:\n{_said(folder)}")
        spent = json.loads((folder / killed_command.SPENT).read_text())
        calls = [name for name, *_ in self._hub.faults.log]
        return Undisturbed(target.left(folder), spent["changes"], spent["seconds"], calls)

    def disturbed(self, target: Target, usual: Undisturbed, report: Report, folder: Path, kills: int) -> None:
        """Run a command, end it up to so many times, and compare what it has left in the end."""
        self._begin(target, folder)
        tries = 0
        while True:
            death = self._death(usual) if tries < kills else None
            code = self._attempt(target, folder, death)
            tries += 1
            if code == 0:
                break
            if death and code in (-death.signal, 128 + signal.SIGINT):
                report.kills[death.signal.name] += 1
                report.moments[death.moment] += 1
                continue
            report.failed.append(f"{target.name}: exit status {code} after {death}: {_said(folder)[-600:]}")
            if death is None:
                return
        self._let_go()
        report.runs += 1
        for kind, names in differences(target.left(folder), usual.left).items():
            getattr(report, kind).extend(f"{target.name}: {name}" for name in names)
        if isinstance(target, PublishTarget):
            history = self._hub.repo(target.kind, target.repo).history("main")
            report.commits_between += sum(commit.author == "somebody" for commit in history)
        shutil.rmtree(folder)

    def _begin(self, target: Target, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        target.prepare(folder)

    def _death(self, usual: Undisturbed) -> Death:
        draws = self._draws
        number = draws.choice(SIGNALS)
        moment = draws.choice(["time", "change", *(["request"] * 2 if usual.calls else [])])
        if moment == "time":
            return Death(number, moment, draws.uniform(0, usual.seconds))
        if moment == "change":
            return Death(number, moment, draws.randint(1, usual.changes))
        call = draws.randrange(len(usual.calls))
        endpoint = usual.calls[call]
        before, done = usual.calls[:call].count(endpoint), draws.random() < 0.5
        return Death(number, moment, before, endpoint, done, not done and draws.random() < 0.5)

    def _attempt(self, target: Target, folder: Path, death: Death | None) -> int:
        """Start a command and end it so; its exit status."""
        held, self._held = self._held, []
        if death and isinstance(target, PublishTarget) and self._draws.random() < 0.5:
            self._hub.faults.add("commit", "move_head")
        process = self._context.Process(
            target=killed_command.run,
            args=(
                target.arguments(folder),
                str(folder),
                (str(folder / "run"), os.environ["TMPDIR"]),
                death.signal if death else 0,
                int(death.at) if death and death.moment == "change" else None,
            ),
        )
        process.start()
        if death and death.moment == "time":
            _end_after(process, death)
        elif death and death.moment == "request":
            self._end_in_call(process, death)
        process.join()
        self._let_go(held)
        if isinstance(target, PublishTarget):
            self._hub.faults.waiting.clear()
        assert process.exitcode is not None
        return process.exitcode

    def _end_in_call(self, process: BaseProcess, death: Death) -> None:
        """End a process while the Hub has its call."""
        action = "stall" if death.done else "hang"
        fault = self._hub.faults.add(death.endpoint, action, skip=int(death.at))
        while process.is_alive() and not fault.reached.wait(0.01):
            pass
        if fault.reached.is_set():
            _send(process, death.signal)
            process.join()
            self._held.append(fault)
            if not death.held:
                self._let_go()

    def _let_go(self, held: list[Any] | None = None) -> None:
        """Let the Hub do calls of processes that are no more, by default all of them, and wait until it has."""
        for fault in self._held if held is None else held:
            log = self._hub.faults.log
            answered, until = len(log), time.monotonic() + 10
            fault.released.set()
            while len(log) == answered and time.monotonic() < until:
                time.sleep(0.01)
        if held is None:
            self._held = []


def _said(folder: Path) -> str:
    file = folder / killed_command.SAID
    return file.read_text() if file.exists() else ""


def _send(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _end_after(process: BaseProcess, death: Death) -> None:
    """End a process when it has used its seconds of CPU: of the clock, they would depend on who else is at work."""
    with contextlib.suppress(psutil.NoSuchProcess):
        watched = psutil.Process(process.pid)
        while process.is_alive():
            times = watched.cpu_times()
            if times.user + times.system >= death.at:
                _send(process, death.signal)
                return
            time.sleep(0.002)


def run(
    folder: Path, hub: HubServer, seed: int, kills: int, commands: Sequence[str], jobs: int = 1
) -> tuple[dict[str, Undisturbed], dict[str, Report]]:
    """Run commands, and end each some times.

    Args:
        kills: in all; each command gets its share, at least one.
        jobs: commands at a time.

    Returns:
        What an undisturbed run of each takes, and what became of the others.
    """
    laboratory = Laboratory(hub, random.Random())
    usual: dict[str, Undisturbed] = {}
    runs: dict[str, Path] = {}

    def measured(target: Target) -> Target:
        place = folder / "undisturbed" / target.name
        usual[target.name] = laboratory.undisturbed(target, place)
        runs[target.name] = place / "run"
        return target

    build = measured(RunTarget("build-dataset"))
    train = measured(RunTarget("train", ("--dataset", str(runs["build-dataset"]))))
    evaluate = measured(RunTarget("evaluate", ("--adapter", str(runs["train"]))))
    targets: dict[str, list[Target]] = {"build-dataset": [build], "train": [train], "evaluate": [evaluate]}
    if "publish" in commands:
        data, adapter = (measured(target) for target in publish_targets(hub, runs))
        targets["publish"] = [data, adapter, measured(publish_results(hub, runs))]
    whole = sum(SHARES[command] for command in commands)

    def disturb(command: str) -> Report:
        own, share = Laboratory(hub, random.Random(f"{seed} {command}")), math.ceil(kills * SHARES[command] / whole)
        report, number = Report(), 0
        while (left := share - report.kills.total()) > 0 and len(report.failed) < MOST_FAILURES:
            target, known = targets[command][number % len(targets[command])], len(report.faults)
            own.disturbed(target, usual[target.name], report, folder / "runs" / f"{command}-{number}", left)
            number += 1
            print(line(command, report), *report.faults[known:], sep="\n", file=sys.stderr, flush=True)
        return report

    with ThreadPoolExecutor(jobs) as pool:
        return usual, dict(zip(commands, pool.map(disturb, commands), strict=True))


def line(command: str, report: Report) -> str:
    kills = "".join(f"{report.kills[number.name]:>9}" for number in SIGNALS)
    faults = "".join(f"{len(found):>10}" for found in (report.lost, report.doubled, report.differing, report.failed))
    return f"{command:<14}{report.runs:>5}{kills}{faults}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--command", choices=SHARES, action="append", help="only these")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--json", action="store_true", help="print the counts")
    parser.add_argument("--record", action="store_true", help=f"write them to {RECORD.name}")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.hub.server import HubServer

    with HubServer() as hub, tempfile.TemporaryDirectory(prefix="random-kills-") as name:
        folder = Path(name).resolve()
        for inner in ("tmp", "home"):
            (folder / inner).mkdir()
        environment = hub.environment(folder / "home", hub.store.add_user(USER))
        os.environ |= {**environment, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), "PYTHONWARNINGS": "ignore"}
        commands = arguments.command or list(SHARES)
        usual, reports = run(folder, hub, arguments.seed, arguments.kills, commands, arguments.jobs)
    header = "".join(f"{number.name:>9}" for number in SIGNALS)
    print(f"{'command':<14}{'runs':>5}{header}{'lost':>10}{'doubled':>10}{'differing':>10}{'failed':>10}")
    for command, report in reports.items():
        print(line(command, report))
    faults = [fault for report in reports.values() for fault in report.faults]
    kills = sum(report.kills.total() for report in reports.values())
    print(f"{kills} kills, {len(faults)} faults")
    found = {
        "seed": arguments.seed,
        "kills": kills,
        "faults": len(faults),
        "undisturbed": {
            name: {"changes of files": one.changes, "requests": len(one.calls), "CPU seconds": round(one.seconds, 2)}
            for name, one in usual.items()
        },
        "commands": {command: report.as_dict() for command, report in reports.items()},
    }
    text = json.dumps(found, indent=2) + "\n"
    if arguments.json:
        print(text, end="")
    if arguments.record:
        RECORD.write_text(text)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
