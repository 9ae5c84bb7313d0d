"""The ``mmpref`` program: a table of contents of its commands, and the one place that catches errors."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from mmpref.cli import interruption
from mmpref.errors import MmprefError
from mmpref.log import each_once, logger, quiet_libraries
from mmpref.version import __version__

COMMANDS = {
    "build-dataset": ("mmpref.cli.build_dataset", "Make a preference dataset."),
    "train": ("mmpref.cli.train", "Train a LoRA adapter on preference data."),
    "evaluate": ("mmpref.cli.evaluate", "Run benchmarks on a model, with and without an adapter."),
    "publish": ("mmpref.cli.publish", "Publish a finished run on the Hugging Face Hub."),
    "inspect": ("mmpref.cli.inspect", "Check and show a preference dataset."),
    "compare": ("mmpref.cli.compare", "Set evaluation runs side by side."),
    "iterate": ("mmpref.cli.iterate", "Build, train and evaluate in rounds, on the growing policy."),
    "power": ("mmpref.cli.power", "Tell how many images it takes to see a difference."),
    "reproduce": ("mmpref.cli.reproduce", "Run a recipe end to end and write one report."),
    "job": ("mmpref.cli.job", "Work on a machine that may be taken away, and keep the state on the Hub."),
    "doctor": ("mmpref.cli.doctor", "Tell what is installed, and what a model will need."),
    "list": ("mmpref.cli.list", "Name what exists: methods, datasets, benchmarks, recipes, families."),
}


_BETWEEN = 10_000
"""New objects between two looks for garbage. To import torch and its like makes many, and no garbage; at Python's
own number (700 in 3.11) a sixth of that time goes into looking."""


class _Contents(click.Group):
    """Loads a command's module when it is asked for, so that help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        with each_once():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=_Contents, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mmpref")
def program() -> None:
    """Preference data, alignment and evaluation for vision-language models.

    build-dataset, train and evaluate run on the testbed where nothing else is named: a small world of drawn
    scenes and a small real vision-language model that ship with the package. Name your own with --model and --source.

    \b
    Examples:
      mmpref reproduce testbed
      mmpref reproduce my.yaml
      mmpref build-dataset --model llava-hf/llava-v1.6-vicuna-7b-hf --source me/my-sft-set
      mmpref train --model llava-hf/llava-v1.6-vicuna-7b-hf --dataset me/bdhs-5k
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what was done is kept)."""
    _quiet_libraries()
    gc.set_threshold(_BETWEEN, 10, 10)
    atexit.register(gc.freeze)  # else the last look for garbage takes seconds after the last word
    interruption.handle_signals()
    try:
        with _own_options(sys.argv[1:] if arguments is None else arguments):
            result: Any = program.main(arguments, prog_name="mmpref", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):
            _name_as_here(error)
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (Exception, KeyboardInterrupt) as error:
        code = _fail(*_told(error))
    sys.exit(code)


def _told(error: BaseException) -> tuple[str, int]:
    """What is said of an error, and the exit status."""
    if _is_interruption(error):
        return "Interrupted. Finished work is kept: the same command goes on from there.", 130
    if isinstance(error, MmprefError):
        return str(error), error.exit_code
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{what} This is not an error that mmpref knows: set MMPREF_DEBUG=1 for the traceback.", 1


def _is_interruption(error: BaseException) -> bool:
    """Whether it is one, or came of one: libraries that are interrupted may stumble over what they had begun, and those
    in C++ may tell of another error in its place."""
    found: BaseException | None = error
    while found and not isinstance(found, KeyboardInterrupt | click.exceptions.Abort):
        found = found.__context__
    return found is not None or interruption.came()


def _name_as_here(error: click.NoSuchOption) -> None:
    """Have the error of an option that other tools have name ours."""
    from mmpref.registry import called_here

    known = [word for option in error.ctx.command.params for word in option.opts] if error.ctx else []
    wanted = [f"--{habit.replace('_', '-')}" for habit in called_here(error.option_name)]
    if ours := [word for word in wanted if word in known]:
        error.possibilities = ours[:1]  # type: ignore[misc]


@contextlib.contextmanager
def _own_options(arguments: Sequence[str]) -> Iterator[None]:
    """Errors name the options that the command has."""
    name = next((word for word in arguments if not word.startswith("-")), "")
    try:
        yield
    except MmprefError as error:
        from mmpref.api.wording import on_command_line, rewording
        from mmpref.cli.job_words import name_in_job

        name_in_job(error)
        command = program.get_command(click.Context(program), name)
        words = {word for option in command.params for word in option.opts} if command else set()
        with rewording(*on_command_line(name, {word.lstrip("-").replace("-", "_") for word in words})):
            raise error


def _fail(message: str, code: int) -> int:
    if os.environ.get("MMPREF_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return code


def _quiet_libraries() -> None:
    """Talk goes to stderr through one logger; libraries' own bars and warnings stay out of the way."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if os.environ.get("MMPREF_DEBUG") != "1":
        # These two set their loggers' levels when they are imported.
        os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
        os.environ.setdefault("DATASETS_VERBOSITY", "critical")
        quiet_libraries()
        warnings.simplefilter("ignore", FutureWarning)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
