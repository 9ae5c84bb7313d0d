"""``mmpref list``: names what exists, with what each needs and where it is."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.api.settings import option_of
from mmpref.cli import list_settings
from mmpref.cli.format import print_fitting, print_table, print_text
from mmpref.errors import UsageError
from mmpref.recipes.names import keys_of

if TYPE_CHECKING:
    from mmpref.registry import Registry

KINDS = (
    *("methods", "datasets", "benchmarks", "recipes", "studies", "families", "annotators", "launchers"),
    *("settings", "reasons"),
)

Rows = list[dict[str, Any]]


def _entries(registry: Registry[Any], needs: Callable[[str], list[str]], where: Callable[[str], list[str]]) -> Rows:
    return [
        {"name": name, "what": registry.summary(name), "needs": needs(name), "where": where(name)}
        for name in registry.names()
    ]


def _needed_settings(settings: Callable[[], Any]) -> list[str]:
    """The option of a setting that has no default; its error's hint has it."""
    try:
        settings()
    except UsageError as error:
        return [error.hint.rpartition(": ")[2]]
    return []


def _embedders(section: str, settings: type[Any]) -> list[str]:
    """The embedders that settings name where nobody says another: no run can do without."""
    return [f"an embedder ({option_of(f'{section}.{key}')})" for key in keys_of(settings, "embedder")]


def _methods() -> Rows:
    """Training methods, and what a recipe that says nothing takes."""
    from mmpref.align.method import METHODS

    def needs(name: str) -> list[str]:
        method = METHODS.get(name)
        answers = _needed_settings(method.settings) or [
            f"{answer} answers" for answer in method.needs(method.settings())
        ]
        second = ["a second rejected answer (rejected_policy)"] * method.needs_second
        context = ["answers that continue a context"] * method.needs_context
        annotator = ["--annotator"] * method.needs_annotator
        return [*answers, *second, *context, *annotator, *_embedders("loss", method.settings)]

    rows = _entries(METHODS, needs, lambda name: [METHODS.module(name).__name__])
    return [{**row, "defaults": METHODS.get(row["name"]).defaults} for row in rows]


def _datasets() -> Rows:
    """Ways of making preference data; where the published ones are."""
    from mmpref.data.builder import BUILDERS

    def needs(name: str) -> list[str]:
        builder = BUILDERS.get(name)
        asks = builder.needs_annotator and builder.default_annotator is None
        pairs = ["--source with pairs" if builder.needs_pairs else "--source"] * (builder.origin is None)
        settings = [*_needed_settings(builder.config()), *_embedders("builder", builder.config())]
        return [*["--model"] * builder.uses_model, *pairs, *["--annotator"] * asks, *settings]

    def where(name: str) -> list[str]:
        origin = BUILDERS.get(name).origin
        return list(origin.repos) if origin else [BUILDERS.module(name).__name__]

    return _entries(BUILDERS, needs, where)


def _benchmarks() -> Rows:
    """Benchmarks, and where their rows are."""
    from mmpref.bench.benchmark import BENCHMARKS
    from mmpref.bench.suites import SUITES, members

    def needs(name: str) -> list[str]:
        benchmark = BENCHMARKS.get(name)
        data = [f"--set benchmark.{name}.data=ROWS"] * (not (benchmark.candidates or benchmark.brings_data))
        return [*data, *["--judge"] * benchmark.judged, *["a reward model"] * benchmark.rewards]

    def where(name: str) -> list[str]:
        benchmark = BENCHMARKS.get(name)
        return ["tasks that lmms-eval brings"] if benchmark.brings_data else list(benchmark.candidates)

    suites = [
        {"name": name, "what": f"Suite: {what}.", "needs": [], "where": list(members(name))}
        for name, what in SUITES.items()
    ]
    return [*_entries(BENCHMARKS, needs, where), *suites]


def _annotators() -> Rows:
    """Annotators that are no model, and what they can be asked."""
    from mmpref.judges.plugins import JUDGES

    return _entries(JUDGES, lambda _: [], lambda name: [JUDGES.module(name).__name__])


def _recipes() -> Rows:
    """The recipes, the commands that they have settings for, and the options that these cannot do without."""
    from mmpref.recipes import resolve
    from mmpref.registry import yaml_files

    files = yaml_files(resolve.GROUP)
    found = {name: resolve.load(name) for name in resolve.names()}
    return [
        {
            "name": name,
            "what": _first_sentence(files[name]),
            "commands": list(sections),
            "needs": [f"--{key}" for key in lacking(sections, sections)],
            "where": [str(files[name])],
        }
        for name, sections in found.items()
    ]


def _first_sentence(file: Path) -> str:
    """Of the comment that a YAML file begins with."""
    lines = file.read_text(encoding="utf-8").splitlines()
    text = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def _studies() -> Rows:
    """The plans of `mmpref reproduce`."""
    from mmpref.study import plan, plan_file

    return [
        {"name": name, "what": one.title, "rows": len(one.rows), "where": [str(plan_file.find(name))]}
        for name in plan_file.names()
        if (one := plan.load(name))
    ]


def _reasons() -> Rows:
    """Why rows are skipped."""
    from mmpref.reasons import REASONS

    return [{"name": code, "what": meaning} for code, meaning in REASONS.items()]


def lacking(sections: Mapping[str, Any], commands: Iterable[str]) -> list[str]:
    """What a recipe does not say for some commands, so that the command line must: ``model`` and ``source``."""
    needed = [(command, key) for command in commands for key in _needed(command, sections.get(command) or {})]
    return list(dict.fromkeys(key for command, key in needed if not (sections.get(command) or {}).get(key)))


def _needed(command: str, section: Mapping[str, Any]) -> tuple[str, ...]:
    """What a command must be told: a model, and a source, unless the method builds without."""
    from mmpref.data.builder import BUILDERS

    if command != "build-dataset":
        return ("model",) * (command in ("train", "evaluate"))
    method = section.get("method", "bdhs")
    if not isinstance(method, str):
        return ()  # which is told where the section is read
    builder = BUILDERS.get(method)
    return ("model",) * builder.uses_model + ("source",) * (builder.origin is None)


def _families() -> Rows:
    from mmpref.vlm.families import FAMILIES

    return [dict(family.describe()) for family in FAMILIES]


def _launchers() -> Rows:
    """Configurations for ``accelerate launch --config_file``."""
    import mmpref

    folder = Path(mmpref.__file__).with_name("align") / "launch"
    return [
        {
            "name": file.stem,
            "path": str(file),
            "what": file.read_text(encoding="utf-8").splitlines()[0].lstrip("# "),
            "where": [str(file)],
        }
        for file in sorted(folder.glob("*.yaml"))
    ]


_LISTS: dict[str, Callable[[], Rows]] = {
    "methods": _methods,
    "datasets": _datasets,
    "benchmarks": _benchmarks,
    "annotators": _annotators,
    "reasons": _reasons,
    "recipes": _recipes,
    "studies": _studies,
    "families": _families,
    "launchers": _launchers,
}


@click.command()
@click.argument("what", type=click.Choice(KINDS), metavar="WHAT")
@click.argument("of", nargs=-1, metavar="[COMMAND [NAME]]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def command(what: str, of: tuple[str, ...], as_json: bool) -> None:
    """Name what exists. WHAT is methods, datasets, benchmarks, recipes, studies, families, annotators or launchers;
    settings, of a COMMAND, with those of the method or benchmark NAME; or reasons, that rows are skipped for.

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
    rows = _LISTS[what]()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif what == "families":
        print_fitting(f"{what} ({len(rows)})", _table(rows, list(rows[0])), _table(rows, _BRIEF), breaks=(2,))
        print_text("More with --json, or in a wider terminal.")
    else:
        print_table(f"{what} ({len(rows)})", ["name", "what"], [[row["name"], _text(row)] for row in rows])
    if what == "datasets" and not as_json:
        from mmpref.tables.table import TABLES

        click.echo()
        print_text(f"These are --method of build-dataset. Tables that --source takes: {', '.join(TABLES.names())}.")


_BRIEF = ["name", "models", "image tokens"]


def _table(rows: Rows, columns: list[str]) -> tuple[list[str], list[list[str]]]:
    return columns, [[str(row[column]) for column in columns] for row in rows]


def _text(row: Mapping[str, Any]) -> str:
    """What an entry is, and on a second line what it needs and where it is."""
    import mmpref

    packages = f"{Path(mmpref.__file__).parents[1]}{os.sep}"
    row = {**row, "where": [place.removeprefix(packages) for place in row.get("where", [])]}
    facts = [f"{key}: {', '.join(row[key])}" for key in ("commands", "needs", "where") if row.get(key)]
    facts = [f"rows: {row['rows']}", *facts] if "rows" in row else facts
    return "\n".join([row["what"], *(["; ".join(facts)] if facts else [])])
