"""Stages in a process of their own, and what is left in another one where that ends or hangs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from gpu.stage import Report, Stage

GRACE = 10
"""Seconds after which a stage that was told to stop is taken down."""


def supervise(
    stages: Sequence[Stage], report: Report, command: Sequence[str], limit: float, grace: float = GRACE
) -> None:
    """Run stages to their ends, whatever those are; the report says which.

    Args:
        command: starts a process that runs the stages whose names are put behind it.
        limit: seconds for all of them.
        grace: seconds more than its own that a stage has before its process is taken down.
    """
    until, left = time.time() + limit, list(stages)
    while left and time.time() < until:
        worker = subprocess.Popen([*command, *(stage.name for stage in left)])
        while worker.poll() is None and not _hangs(report, left, grace) and time.time() < until:
            time.sleep(0.2)
        worker.kill()
        code = worker.wait()
        if running := report.running():
            report.end(running[0], "cut", "no time was left" if time.time() >= until else f"its process ended ({code})")
        ended = report.read()["stages"]
        still = [stage for stage in left if stage.name not in ended]
        if len(still) == len(left):  # it did not come to its first stage
            report.end(left[0].name, "failed", f"its process did not start ({code})")
            still = left[1:]
        left = still
    for stage in left:
        report.end(stage.name, "not run", "no time was left")


def _hangs(report: Report, stages: Sequence[Stage], grace: float) -> bool:
    running = report.running()
    limits = {stage.name: stage.seconds for stage in stages}
    return running is not None and running[1] > limits[running[0]] + grace
