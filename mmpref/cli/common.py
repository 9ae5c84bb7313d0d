"""What commands share: option decorators, pushing, and output (result on stdout, talk on stderr)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from mmpref.cli.format import print_table, print_text
from mmpref.errors import RunError
from mmpref.log import logger
from mmpref.reasons import legend
from mmpref.recipes.resolve import parse_set

if TYPE_CHECKING:
    from mmpref.api.planned import PlannedRun
    from mmpref.api.results import Result
    from mmpref.hub.target import Target

F = TypeVar("F", bound=Callable[..., Any])


class UserPath(click.Path):
    """A path, with the user's home for a ``~`` in front: bash leaves the one of ``--output=~/runs`` as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


_OTHER_HTML = "Choose another file for --html."


def recipe_options(command: F) -> F:
    """``--recipe`` and ``--set``, as `mmpref.api.options` takes them."""
    command = click.option(
        "--set",
        multiple=True,
        callback=lambda _context, _option, assignments: parse_set(assignments),
        metavar="KEY=VALUE",
        help="Override one recipe setting. Repeatable.",
    )(command)
    return click.option(
        "--recipe",
        metavar="NAME|FILE",
        help="Named recipe or YAML file. [default: testbed without --model; with one paper, whose defaults stand here]",
    )(command)


def output_options(command: F) -> F:
    """``--output`` and ``--json``."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")(command)
    return click.option(
        "--output",
        type=UserPath(path_type=Path),
        metavar="DIR",
        help="Run directory; a second run with the same one resumes. [default: runs/...]",
    )(command)


def workers_option(command: F) -> F:
    """``--workers``."""
    return click.option(
        "--workers", type=click.IntRange(min=0), help="Processes that preprocess images. [default: 0 on a CPU]"
    )(command)


def _columns(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    columns: dict[str, str] = {}
    for one in ",".join(values).split(",") if values else ():
        part, equals, column = (word.strip() for word in one.partition("="))
        if not (part and equals and column):
            raise click.BadParameter(f"{one!r} is not of the form PART=COLUMN, such as prompt=question,answer=caption.")
        columns[part] = column
    return columns or None


def columns_option(parts: str) -> Callable[[F], F]:
    """``--columns``; ``parts`` says what can be named."""
    return click.option(
        "--columns",
        multiple=True,
        callback=_columns,
        metavar="PART=COLUMN,...",
        help=f"What your own data call {parts}. Repeatable.",
    )


def default_prompt_option(command: F) -> F:
    """``--default-prompt``."""
    return click.option(
        "--default-prompt",
        metavar="TEXT",
        help="Asked of rows that have no prompt. [default, of captions: 'Please describe this image in detail.']",
    )(command)


def hub_name(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Callback of options that name a Hub repository, ``--...-dataset-id`` or of a model: the address of its page is as
    good."""
    from mmpref.hub_ids import repo_id

    return value and repo_id(value, "dataset" if "dataset" in option.opts[0] else "model")


def push_options(kind: str) -> Callable[[F], F]:
    """``--push``, ``--hub-<kind>-id`` and ``--private``; ``kind`` is ``dataset`` or ``model``."""

    def decorate(command: F) -> F:
        command = click.option("--private", is_flag=True, help="Make a new repository private.")(command)
        command = click.option(
            f"--hub-{kind}-id",
            "hub_id",
            metavar="NAMESPACE/NAME",
            callback=hub_name,
            help="Hub repository to publish to; implies --push.",
        )(command)
        return click.option("--push", is_flag=True, help="Publish on the Hub when done.")(command)

    return decorate


def push_target(
    push: bool,
    hub_id: str | None,
    kind: Literal["dataset", "model"],
    plan: Callable[[], PlannedRun],
    *,
    private: bool = False,
    replaced: Sequence[str] = (),
    must_exist: bool = False,
) -> Target | None:
    """Check, before any long work, that the result can be pushed, and say where it will go.

    Args:
        plan: gives the run that is going to be made; its folder names the repository where ``hub_id`` does not.
        replaced: patterns of files that must not be there of another run.
        must_exist: what is pushed belongs into a repository that is there.

    Returns:
        The repository, or None where nothing is to be pushed.

    Raises:
        UsageError: a repository that must be there and is not.
        HubError: no token, a wrong one, a Hub that cannot be reached, or a repository that is public or another run's.
    """
    if not push and hub_id is None:
        return None
    from mmpref.hub.target import find_target

    planned = plan()
    name = planned.path.resolve().name
    target = find_target(hub_id, kind, private=private, default_name=name, must_exist=must_exist)
    if replaced:
        target.refuse_replacing(planned.recipe_hash, replaced)
    logger.info("The result will go to %s.", target.sentence)
    return target


def publish(target: Target | None, path: Path, private: bool, **options: Any) -> dict[str, Any]:
    """Push a finished run where `push_target` said; what came of it, for the result."""
    if target is None:
        return {}
    from mmpref.hub.publish_run import publish_run

    published = publish_run(path, target.repo_id, private=private, **options)
    names = {"published": published.url, "visibility": published.visibility}
    return {**names, "commit": published.commit, "tag": published.tag}


def replace_option(command: F) -> F:
    """``--replace``: of what is published."""
    return click.option("--replace", is_flag=True, help="Replace data of another run in the Hub repository.")(command)


def license_option(command: F) -> F:
    """``--license``: of a dataset's source."""
    return click.option(
        "--license", metavar="ID", help="Licence of a source that states none, such as cc-by-4.0, for the card."
    )(command)


def accept_license_option(command: F) -> F:
    """``--accept-license``."""
    text = "Publish although the licence of a source, or of training data, may forbid it."
    return click.option("--accept-license", is_flag=True, help=text)(command)


def show(result: Mapping[str, Any], as_json: bool, table: Callable[[], None]) -> None:
    """Print the result on stdout: one JSON object, or the human form that ``table`` prints."""
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str))
    else:
        table()


def show_run(result: Result, published: Mapping[str, Any], as_json: bool) -> None:
    """Print a finished run: its manifest and where it went, or its table."""
    facts = {**result.manifest, "path": str(result.path), **published}
    show(facts, as_json, lambda: print_run(result, published))


def print_run(result: Result, published: Mapping[str, Any] | None = None) -> None:
    """Print a finished run as a table, and what its codes of skipped rows mean."""
    columns, rows = result.table()
    print_table(result.title, columns, [*rows, *((name, str(value)) for name, value in (published or {}).items())])
    for line in legend(result.manifest.get("counts", {}).get("skipped", {})):
        print_text(line)


def write_page(path: Path, page: str) -> None:
    """Write an HTML file that an option asked for.

    Raises:
        RunError: it cannot be written there.
    """
    from mmpref.run.files import write_atomic

    if path.is_dir():
        raise RunError(f"{path} is a folder.", _OTHER_HTML)
    try:
        write_atomic(path, page)
    except RunError as error:
        raise RunError(error.message, _OTHER_HTML) from error
    except OSError as error:
        raise RunError(f"Cannot write {path} ({error.strerror or error}).", _OTHER_HTML) from error
