"""Stages that are bounded in time, and the one file of what they find: a cut at any moment loses nothing before it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmpref.errors import is_out_of_memory
from mmpref.run.files import write_atomic

Status = Literal["running", "done", "failed", "skipped", "cut", "not run"]


class Skipped(Exception):
    """A stage cannot run here; the message says why."""


class Overrun(BaseException):
    """A stage has used its time; no library may take it for an error of its own."""


class Report:
    """What was found so far, in one JSON file: ``{"stages": {name: {"status", "seconds", "found", ...}}}``.

    Args:
        path: the file; what it holds already stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        return json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {"stages": {}}

    def begin(self, stage: str) -> None:
        self._change(stage, lambda entry: entry.update(status="running", began=time.time(), found={}))

    def add(self, stage: str, name: str, value: Any) -> None:
        self._change(stage, lambda entry: entry["found"].update({name: value}))

    def end(self, stage: str, status: Status, reason: str = "") -> None:
        """Say how a stage ended, and in how many seconds, if it began."""

        def change(entry: dict[str, Any]) -> None:
            began = entry.pop("began", None)
            entry["status"] = status
            if began is not None:
                entry["seconds"] = round(time.time() - began, 1)
            if reason:
                entry["reason"] = reason

        self._change(stage, change)

    def running(self) -> tuple[str, float] | None:
        """The stage that has begun and not ended, and since how many seconds."""
        for name, entry in self.read()["stages"].items():
            if entry["status"] == "running":
                return name, time.time() - entry["began"]
        return None

    def _change(self, stage: str, change: Callable[[dict[str, Any]], None]) -> None:
        found = self.read()
        change(found["stages"].setdefault(stage, {"found": {}}))
        write_atomic(self._path, json.dumps(found, indent=2) + "\n")


@dataclass
class Context:
    """What a stage runs with.

    Args:
        device: such as ``cuda`` or ``cpu``.
        tiny: sizes for a test of the stages themselves.
        scratch: a folder that is thrown away.
        add: takes a name and a value that was found, and keeps it at once.
    """

    device: str
    tiny: bool
    scratch: Path
    add: Callable[[str, Any], None]
    wrong: list[str] = field(default_factory=list)

    def check(self, name: str, value: float, limit: float) -> None:
        """Keep a value, which must be at most so much; else the stage will have failed, and goes on."""
        value = float(value)
        self.add(name, {"value": value if math.isfinite(value) else str(value), "at most": limit})
        if not value <= limit:
            self.wrong.append(name)

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """What some work returns; where it raises, None: that is kept, and the stage goes on. It will have failed,
        unless it was memory that did not suffice, which is a finding."""
        try:
            return work()
        except Skipped:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                self.add(name, "does not fit")
            else:
                self.add(name, {"error": _line(error)})
                self.wrong.append(name)
            return None


@dataclass(frozen=True)
class Stage:
    """A part of the check.

    Args:
        seconds: that it may take.
        run: does it, and keeps by its context what it finds.
    """

    name: str
    seconds: float
    run: Callable[[Context], None]


def run_stage(stage: Stage, report: Report, device: str, tiny: bool, scratch: Path) -> None:
    """Run a stage to its end, whatever that is; the report says which."""
    report.begin(stage.name)
    context = Context(device, tiny, scratch, lambda name, value: report.add(stage.name, name, value))
    try:
        stage.run(context)
    except Skipped as reason:
        report.end(stage.name, "skipped", str(reason))
    except Overrun:
        report.end(stage.name, "cut", f"more than {stage.seconds:g} seconds")
    except Exception as error:
        report.end(stage.name, "failed", _line(error))
    else:
        report.end(stage.name, "failed" if context.wrong else "done", ", ".join(context.wrong))


def _line(error: Exception) -> str:
    """Its kind, its message, and where it was raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    at = f" ({Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno})" if frame else ""
    return f"{type(error).__name__}: {str(error)[:500]}{at}"
