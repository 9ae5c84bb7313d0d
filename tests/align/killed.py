"""Run a training that kills itself: ``python killed.py MODEL DATASET OUTPUT step:N | checkpoint:N | interrupt:N``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mmpref.align import trainer_mixin
from mmpref.align.checkpoints import mark_complete
from mmpref.align.train import train

from .test_train import recipe


def main(model: str, dataset: str, output: str, when: str) -> None:
    what, _, number = when.partition(":")
    completed = 0

    def complete_or_die(checkpoint: Path) -> None:
        nonlocal completed
        completed += 1
        if what == "checkpoint" and completed == int(number):
            # Every file is written, the list of them is not: as late as a kill can come in a checkpoint.
            os.kill(os.getpid(), signal.SIGKILL)
        mark_complete(checkpoint)

    def step(done: int, total: int) -> None:
        if what != "checkpoint" and done == int(number):
            os.kill(os.getpid(), signal.SIGKILL if what == "step" else signal.SIGINT)

    trainer_mixin.mark_complete = complete_or_die  # type: ignore[attr-defined]
    train(recipe(model, dataset), Path(output), on_progress=step)


if __name__ == "__main__":
    main(*sys.argv[1:])
