"""``mmpref list``: names what exists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from mmpref.cli import list_settings
from mmpref.cli.format import print_table
from mmpref.errors import UsageError

KINDS = ("methods", "datasets", "benchmarks", "recipes", "studies", "families", "annotators", "launchers", "settings")


Rows = list[dict[str, Any]]


def _registry(kind: str) -> Rows:
    from mmpref.align.method import METHODS
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.data.builder import BUILDERS
    from mmpref.judges.plugins import JUDGES
    from mmpref.registry import Registry

    registries: dict[str, Registry] = {
        "methods": METHODS,
        "datasets": BUILDERS,
        "benchmarks": BENCHMARKS,
        "annotators": JUDGES,
    }
    registry = registries[kind]
    return [{"name": name, "what": registry.summary(name)} for name in registry.names()]


def _methods() -> Rows:
    """Training methods, and what a recipe that says nothing takes."""
    from mmpref.align.method import METHODS

    return [{**row, "defaults": METHODS.get(row["name"]).defaults} for row in _registry("methods")]


def _recipes() -> Rows:
    """The recipes, the commands that they have settings for, and the options that these cannot do without."""
    from mmpref.recipes import resolve

    found = {name: resolve.load(name) for name in resolve.names()}
    return [
        {"name": name, "commands": list(sections), "needs": [f"--{key}" for key in lacking(sections, sections)]}
        for name, sections in found.items()
    ]


def _studies() -> Rows:
    """The plans of `mmpref reproduce`."""
    from mmpref.study import plan, plan_file

    return [
        {"name": name, "what": one.title, "rows": len(one.rows)}
        for name in plan_file.names()
        if (one := plan.load(name))
    ]


def lacking(sections: Mapping[str, Any], commands: Iterable[str]) -> list[str]:
    """What a recipe does not say for some commands, so that the command line must: ``model`` and ``source``."""
    needed = [(command, key) for command in commands for key in _needed(command, sections.get(command) or {})]
    return list(dict.fromkeys(key for command, key in needed if not (sections.get(command) or {}).get(key)))


def _needed(command: str, section: Mapping[str, Any]) -> tuple[str, ...]:
    """What a command must be told: a model, and a source, unless the method builds without."""
    from mmpref.data.builder import BUILDERS

    if command != "build-dataset":
        return ("model",) * (command in ("train", "evaluate"))
    builder = BUILDERS.get(section.get("method", "bdhs"))
    return ("model",) * builder.uses_model + ("source",) * (builder.origin is None)


def _families() -> Rows:
    from mmpref.vlm.families import FAMILIES

    return [dict(family.describe()) for family in FAMILIES]


def _launchers() -> Rows:
    """Configurations for ``accelerate launch --config_file``."""
    import mmpref

    folder = Path(mmpref.__file__).with_name("align") / "launch"
    return [
        {"name": file.stem, "path": str(file), "what": file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")}
        for file in sorted(folder.glob("*.yaml"))
    ]


_LISTS: dict[str, Callable[[], Rows]] = {
    "methods": _methods,
    "recipes": _recipes,
    "studies": _studies,
    "families": _families,
    "launchers": _launchers,
}


@click.command()
@click.argument("what", type=click.Choice(KINDS))
@click.argument("of", nargs=-1, metavar="[COMMAND [NAME]]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def command(what: str, of: tuple[str, ...], as_json: bool) -> None:
    """Name what exists: methods, datasets, benchmarks, recipes, studies, families, annotators or launchers; or the
    settings of a COMMAND, with those of the method or benchmark NAME.

    \b
    Examples:
      mmpref list datasets
      mmpref list families --json
      mmpref list settings train mdpo
    """
    if what == "settings":
        list_settings.show(of, as_json)
        return
    if of:
        raise UsageError(f"mmpref list {what} takes no {' '.join(of)!r}.", "Only settings are of a command.")
    rows = _LISTS[what]() if what in _LISTS else _registry(what)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        columns = [
            column for column, value in (rows[0] if rows else {"name": ""}).items() if not isinstance(value, dict)
        ]
        print_table(f"{what} ({len(rows)})", columns, [[_cell(row[column]) for column in columns] for row in rows])
    if what == "datasets" and not as_json:
        from mmpref.tables.table import TABLES

        click.echo(f"\nThese are --method of build-dataset. Tables that --source takes: {', '.join(TABLES.names())}.")


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
