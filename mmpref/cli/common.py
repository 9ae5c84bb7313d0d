"""What commands share: option decorators, the resolution of recipes, and output (result on stdout, talk on stderr)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from mmpref import recipe as recipes

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

TESTBED, PAPER = "testbed", "paper"
"""The recipes that a command takes its defaults from: without --model, and with one."""


def recipe_options(command: F) -> F:
    """``--recipe`` and ``--set``."""
    command = click.option(
        "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override one recipe setting. Repeatable."
    )(command)
    return click.option(
        "--recipe", "recipe_name", metavar="NAME|FILE",
        help="Named recipe or YAML file. [default: testbed without --model, paper with one]",
    )(command)  # fmt: skip


def output_options(command: F) -> F:
    """``--output`` and ``--json``."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")(command)
    return click.option(
        "--output", type=click.Path(path_type=Path), metavar="DIR",
        help="Run directory; a second run with the same one resumes. [default: runs/...]",
    )(command)  # fmt: skip


def push_options(kind: str) -> Callable[[F], F]:
    """``--push``, ``--hub-<kind>-id`` and ``--private``; ``kind`` is ``dataset`` or ``model``."""

    def decorate(command: F) -> F:
        command = click.option("--private", is_flag=True, help="Make a new repository private.")(command)
        command = click.option(
            f"--hub-{kind}-id", "hub_id", metavar="NAMESPACE/NAME", help="Hub repository to publish to; implies --push."
        )(command)
        return click.option("--push", is_flag=True, help="Publish on the Hub when done.")(command)

    return decorate


def resolve(
    cls: type[R], command: str, recipe_name: str | None, options: Mapping[str, Any], assignments: Sequence[str],
    has_model: bool,
) -> R:  # fmt: skip
    """The recipe's section for the command, then explicit options (None means not given), then ``--set``.

    Nested option keys are written with dots: ``{"builder.rho_th": 0.98}``.
    """
    name = recipe_name or (PAPER if has_model else TESTBED)
    given: dict[str, Any] = {}
    for key, value in options.items():
        if value is None or value == ():
            continue
        *parents, last = key.split(".")
        target = given
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    section = recipes.load(name).get(command) or {}
    return recipes.build(cls, recipes.merge(section, given, recipes.parse_set(assignments)), f"{command} recipe")


def push_target(push: bool, hub_id: str | None, kind: Literal["dataset", "model"], output: Path | None) -> str | None:
    """Check, before any long work, that the result can be pushed.

    Returns:
        The repository, empty where the run directory will name it, or None where nothing is to be pushed.

    Raises:
        HubError: no token, a wrong one, or a Hub that cannot be reached.
    """
    if not push and hub_id is None:
        return None
    from mmpref.hub.publish import check_access

    full = check_access(hub_id, kind, default_name=output.resolve().name if output else "")
    return full if hub_id or output else ""


def publish(target: str | None, path: Path, private: bool, **options: Any) -> dict[str, Any]:
    """Push a finished run where `push_target` said; what came of it, for the result."""
    if target is None:
        return {}
    from mmpref.hub.publish_run import publish_run

    published = publish_run(path, target or None, private=private, **options)
    return {"published": published["url"], "commit": published["commit"]}


def run_path(command: str, what: str, manifest: Mapping[str, Any], output: Path | None) -> Path:
    """Where a run went, given or by default."""
    return output or Path("runs") / f"{command}-{what}-{manifest['recipe_hash'][:8]}"


def show(result: Mapping[str, Any], as_json: bool, table: Callable[[], None]) -> None:
    """Print the result on stdout: one JSON object, or the human form that ``table`` prints."""
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str))
    else:
        table()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; the first column is text, the others are right-aligned."""
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    Console(width=None if sys.stdout.isatty() else 160).print(table)
