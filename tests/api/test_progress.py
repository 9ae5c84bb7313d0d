"""A bar is shown where somebody watches, in a terminal or a notebook; a log has a line now and then."""

from __future__ import annotations

import io
import logging
import re
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from mmpref.api.progress import Progress
from mmpref.log import counted, duration, in_notebook, logger
from mmpref.types import Skip


def test_a_kernel_counts_as_somebody_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    module = ModuleType("IPython")
    config: dict[str, object] = {}
    module.get_ipython = lambda: SimpleNamespace(config=config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert not in_notebook(), "IPython in a terminal"
    config["IPKernelApp"] = {}
    assert in_notebook()


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Makes of stderr a terminal, with the command line's logger on it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("mmpref.api.progress.somebody_watches", lambda: True)
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(logger, "level", logging.INFO)
    return stream


def test_a_bar_has_total_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Progress("answers") as progress:
        progress.reach(20, 100, "pope")
        time.sleep(0.15)
        progress.reach(60, 100, "pope")
    shown = stream.getvalue().split("\r")
    last = [line for line in shown if "60/100" in line][-1]
    assert last.startswith("pope:  60%|")
    assert re.search(r"\[00:00<00:0\d, .* answers/s\]", last), "elapsed, left, and how fast"
    assert not shown[-1].strip(), "nothing stays"


def test_a_log_line_is_not_glued_to_the_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stream = terminal(monkeypatch)
    caplog.set_level(logging.INFO, logger.name)
    before = list(logger.handlers)
    with Progress("steps") as progress:
        progress.reach(1, 4)
        logger.info("Step 1: fine.")
        progress.reach(4, 4)
        logger.info("Done.")
    assert logger.handlers == before
    lines = [line.rsplit("\r", 1)[-1] for line in stream.getvalue().split("\n")]
    assert "Step 1: fine." in lines
    assert "Done." in lines


def test_a_log_has_a_line_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mmpref.api.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(logger, "handlers", [])  # pytest reads a logger that does not propagate by one of its own
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, logger.name)
    with Progress("answers") as progress:
        for done in range(10_001):
            now[0] = float(done)
            progress.reach(done, 10_000, "chair")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "chair: 30 of 10000 answers, 2 h 45 min left."
    assert 20 < len(lines) < 60
    assert all(" left." in line for line in lines)


def test_a_build_is_seen_before_its_first_block_is_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = terminal(monkeypatch)
    with Progress("rows") as progress:
        progress.block(60, [])
    assert "0/60 [00:00<" in stream.getvalue()
    now = [0.0]
    monkeypatch.setattr("mmpref.api.progress.somebody_watches", lambda: False)
    monkeypatch.setattr("mmpref.api.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, logger.name)
    with Progress("rows") as progress:
        progress.block(120, [])
        now[0] = 300.0
        progress.block(120, [Skip(str(number), "no-image") for number in range(60)])
    assert [record.getMessage() for record in caplog.records] == ["60 of 120 rows, 5 min left."]


def test_where_nobody_knows_the_total_a_count_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Progress("rows") as progress:
        progress.reach(1)
        time.sleep(0.15)
        progress.reach(600)
    assert "600 rows [00:00" in stream.getvalue()


def test_nothing_is_said_to_nobody(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with Progress("rows", watched=False) as progress:
        progress.reach(4, 8)
        progress.block(4, [])
    with Progress("rows") as progress:
        progress.reach(4, 4)
    assert (capsys.readouterr(), caplog.records) == (("", ""), [])


def test_times_are_said_as_a_person_would() -> None:
    said = [duration(seconds) for seconds in (0.0, 0.99, 1, 89, 100, 5399, 7860, 7200, 50_400)]
    assert said == ["under a second", "under a second", "1 s", "89 s", "2 min", "90 min", "2 h 10 min", "2 h", "14 h"]


def test_a_count_has_its_noun() -> None:
    said = [counted(number, "row") for number in (0, 1, 2, 1560)]
    assert said == ["0 rows", "1 row", "2 rows", "1,560 rows"]
    assert [counted(number, "try", "tries") for number in (1, 2)] == ["1 try", "2 tries"]
