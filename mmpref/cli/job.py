"""``mmpref job``: a command on a machine that may be taken away (``scripts/jobs``). It works in slices, and keeps its
state between.

A slice ends as Ctrl-C does: the command finishes its step and leaves what a restart goes on from. Then nobody works in
the folder, and its state is kept. A job that is cut loses its last slice at most; the same job again goes on.
"""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import interruption
from mmpref.cli.job_words import KEPT
from mmpref.cli.main import COMMANDS, main
from mmpref.errors import HubError, UsageError
from mmpref.log import logger

if TYPE_CHECKING:
    from mmpref.hub.job_state import JobState

_INTERRUPTED = (130, -signal.SIGTERM)
"""How a command ends that was told to stop: the second, where it had not begun."""
_ATTEMPTS = 3
"""Uploads that may fail before the work stops: it would be lost."""


def run(work: str) -> None:
    """Be the job of a command: take the script's arguments, work, and exit as the command does."""
    main(["job", work, *sys.argv[1:]])


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True})
@click.argument("work", type=click.Choice(("build-dataset", "train", "evaluate")))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--state", required=True, metavar="NAMESPACE/NAME", help="Dataset repository that keeps the state.")
@click.option("--name", help="Of the run in it. [default: WORK]")
@click.option(
    "--every", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, metavar="MINUTES"
)
@click.option("--dry-run", is_flag=True, help="Check options and token, say what would be done, and stop.")
def command(work: str, arguments: tuple[str, ...], state: str, name: str | None, every: float, dry_run: bool) -> int:
    """Do WORK with its own ARGUMENTS, and keep its state: where a job is cut, the same command goes on elsewhere.

    The state is an archive in a private dataset repository. Every so many minutes the work stops as by Ctrl-C, the
    state is uploaded, and the work goes on.

    \b
    Examples:
      mmpref job train --state me/mmpref-state --model me/vlm --dataset me/bdhs-5k --hub-model-id me/vlm-bdhs
      mmpref job evaluate --state me/mmpref-state --name pope --model me/vlm --benchmark pope --dry-run
    """
    from mmpref.hub.job_state import JobState

    _check(work, arguments)
    name = name or work
    kept, folder = JobState(state, name), Path("runs") / name
    words = ["mmpref", work, *arguments, "--output", str(folder)]
    if dry_run:
        click.echo(shlex.join(words))
        found = "goes on from it" if kept.exists() else "starts anew"
        click.echo(f"State: {kept.label}, every {every:g} minutes; the run {found}.")
        return 0
    if kept.restore(folder):
        logger.info("Going on from %s.", kept.label)
    return _work(words[1:], kept, folder, every * 60)


def _check(work: str, arguments: tuple[str, ...]) -> None:
    """Parse the command's own options, as it will.

    Raises:
        click.UsageError: one that it has not.
        UsageError: ``--output``, which is the job's.
    """
    module: Any = importlib.import_module(COMMANDS[work][0])
    context = module.command.make_context(f"mmpref {work}", list(arguments))
    if context.params.get("output"):
        raise UsageError("--output is the job's own.", "Leave it out; --name tells runs apart.")


def _work(words: list[str], kept: JobState, folder: Path, seconds: float) -> int:
    """Slices until the command is done; its exit code."""
    failures, stopped = 0, False
    environment = {**os.environ, KEPT: kept.label}
    while True:
        process = subprocess.Popen([sys.executable, "-m", "mmpref", *words], env=environment, start_new_session=True)
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        except KeyboardInterrupt:  # of SIGTERM too: the machine is taken away
            interruption.dealt_with()
            stopped = True
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        try:
            kept.keep(folder)
            failures = 0
        except HubError as error:
            failures += 1
            logger.warning("The state could not be kept: %s", error)
            if stopped or code not in _INTERRUPTED or failures == _ATTEMPTS:
                raise
        if stopped or code not in _INTERRUPTED:
            return code
