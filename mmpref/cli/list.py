"""``mmpref list``: names what exists."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from mmpref.cli.common import print_table

KINDS = ("methods", "datasets", "benchmarks", "recipes", "families")


def _registry(kind: str) -> list[dict[str, str]]:
    from mmpref.align.method import METHODS
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.data.builder import BUILDERS
    from mmpref.registry import Registry

    registries: dict[str, Registry] = {"methods": METHODS, "datasets": BUILDERS, "benchmarks": BENCHMARKS}
    registry = registries[kind]
    return [{"name": name, "what": registry.summary(name)} for name in registry.names()]


def _recipes() -> list[dict[str, str]]:
    from mmpref import recipe

    return [{"name": name, "commands": ", ".join(recipe.load(name))} for name in recipe.names()]


def _families() -> list[dict[str, str]]:
    from mmpref.vlm.families import FAMILIES

    return [family.describe() for family in FAMILIES]


_LISTS: dict[str, Callable[[], list[dict[str, str]]]] = {"recipes": _recipes, "families": _families}


@click.command()
@click.argument("what", type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def command(what: str, as_json: bool) -> None:
    """Name what exists: methods, datasets, benchmarks, recipes or families.

    \b
    Examples:
      mmpref list datasets
      mmpref list families --json
    """
    rows = _LISTS[what]() if what in _LISTS else _registry(what)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        columns = list(rows[0])
        print_table(f"{what} ({len(rows)})", columns, [[row[column] for column in columns] for row in rows])
