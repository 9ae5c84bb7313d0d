"""The data that a training watches: a restart, and whoever asks for the finished run again, must find the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.align.fitted import SCRATCH
from mmpref.align.recipe import Evaluator, watched_by
from mmpref.run.directory import Run
from mmpref.run.inputs import refuse_changed_input

_WATCHED = f"{SCRATCH}/watched"


def pin_watched(run: Run, evaluate: Evaluator | None) -> None:
    """Pin what the benchmarks that are watched ask, or check that it is what the run began with: values on other data
    are not to be compared with its own, nor the best step chosen among both.

    Raises:
        RunError: the data of one have changed.
    """
    files: Mapping[str, Any] = getattr(evaluate, "files", {})
    now = {
        name: {"samples": asked.samples, "files": dict(files.get(name, {}))}
        for name, asked in watched_by(evaluate).items()
    }
    if now:
        _refuse_changed(run.path, run.pin(_WATCHED, now), now)


def refuse_changed_watched(run: Run, evaluate: Evaluator | None) -> None:
    """The same of a finished run, of what its manifest says.

    Raises:
        RunError: the data of one have changed.
    """
    watched: Mapping[str, Any] = run.manifest().get("watched") or {}
    before = {name: asked.get("samples") for name, asked in watched.items()}
    _refuse_changed(run.path, before, {name: asked.samples for name, asked in watched_by(evaluate).items()})


def _refuse_changed(run: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, facts in now.items():
        if before.get(name, facts) != facts:
            refuse_changed_input(run, f"What the benchmark {name} asks, which is watched, has changed")
