"""Run a training that kills itself: ``python killed.py MODEL DATASET OUTPUT step:N | checkpoint:N | interrupt:N``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mmpref.align import trainer_mixin
from mmpref.align.checkpoints import seal
from mmpref.align.train import train

from .test_train import recipe


def main(model: str, dataset: str, output: str, when: str) -> None:
    what, _, number = when.partition(":")
    sealed = 0

    def seal_or_die(checkpoint: Path) -> None:
        nonlocal sealed
        sealed += 1
        if what == "checkpoint" and sealed == int(number):
            # Every file is written, the list of them is not: as late as a kill can come in a checkpoint.
            os.kill(os.getpid(), signal.SIGKILL)
        seal(checkpoint)

    def step(done: int, total: int) -> None:
        if what != "checkpoint" and done == int(number):
            os.kill(os.getpid(), signal.SIGKILL if what == "step" else signal.SIGINT)

    trainer_mixin.seal = seal_or_die  # type: ignore[attr-defined]
    train(recipe(model, dataset), Path(output), on_progress=step)


if __name__ == "__main__":
    main(*sys.argv[1:])
