"""``mmpref publish``: parse, publish, show."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_table
from mmpref.errors import UsageError


@click.command()
@click.argument("run", type=common.UserPath(path_type=Path))
@click.option(
    "--hub-dataset-id",
    callback=common.hub_name,
    metavar="NAMESPACE/NAME",
    help="Where a dataset, or an evaluation's per-sample records, go.",
)
@click.option(
    "--hub-model-id",
    callback=common.hub_name,
    metavar="NAMESPACE/NAME",
    help="Where an adapter, or an evaluation's results, go.",
)
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing to main.")
@click.option(
    "--base-hub-id",
    callback=common.hub_name,
    metavar="NAMESPACE/NAME",
    help="Hub id of a base model that is a local path here.",
)
@click.option("--merge", is_flag=True, help="Of an adapter, publish the base with its weights merged in.")
@click.option("--space", is_flag=True, help="Of an adapter, make a demo Space: base and adapter side by side.")
@click.option("--collection", metavar="TITLE", help="Put it, and what it was made from, into a collection.")
@click.option(
    "--new-version-of",
    callback=common.hub_name,
    metavar="NAMESPACE/NAME",
    help="An earlier model, whose card shall point to this one.",
)
@click.option("--push-samples", is_flag=True, help="Of an evaluation, push the per-sample records too.")
@common.replace_option
@common.license_option
@click.option(
    "--to-folder",
    type=common.UserPath(path_type=Path),
    metavar="DIR",
    help="Only write there what would be published, card and all, and send nothing.",
)
@common.accept_license_option
@click.option(
    "--accept-private",
    is_flag=True,
    help="Publish for all records or merged weights of what is private or gated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(run: Path, as_json: bool, to_folder: Path | None, **options: Any) -> None:
    """Publish a finished run directory: a dataset, an adapter, an evaluation's results, or a chain of rounds.

    Without an id it asks on a terminal whether the folder's name will do. One commit; publishing the same again makes
    none. An evaluation is merged into the adapter's card.

    \b
    Examples:
      mmpref publish runs/build-dataset-bdhs-1a2b3c4d --hub-dataset-id me/bdhs-5k
      mmpref publish runs/build-dataset-bdhs-1a2b3c4d --hub-dataset-id me/bdhs-5k --to-folder preview
      mmpref publish runs/train-dpo-1a2b3c4d --hub-model-id me/vlm-bdhs --private
      mmpref publish runs/train-dpo-1a2b3c4d --hub-model-id me/vlm-bdhs-merged --merge
      mmpref publish runs/train-dpo-1a2b3c4d --hub-model-id me/vlm-bdhs --space --collection "BDHS on my VLM"
      mmpref publish runs/evaluate-pope-chair-1a2b3c4d --hub-model-id me/vlm-bdhs
      mmpref publish runs/evaluate-pope-chair-1a2b3c4d --hub-model-id me/vlm-bdhs --to-folder preview
      mmpref publish runs/evaluate-pope-chair-1a2b3c4d --hub-dataset-id me/vlm-bdhs-answers
    """
    from mmpref.api.publish import publish, stage
    from mmpref.hub.access import trusted_resource

    if to_folder:
        staged = stage(run, to_folder, **_for_folder(options))
        common.show(dataclasses.asdict(staged), as_json, lambda: print_table(staged.title, *staged.table()))
        return
    if not (options["hub_dataset_id"] or options["hub_model_id"] or trusted_resource()):
        kind, repo_id = _asked_for(run, options["private"])
        options[f"hub_{kind}_id"] = repo_id
    click.echo(f"Publishing {run}.", err=True)
    published = publish(run, **options)
    common.show(dataclasses.asdict(published), as_json, lambda: print_table(published.title, *published.table()))


def _for_folder(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say what is published.

    Raises:
        UsageError: one that says how.
    """
    what = ("hub_dataset_id", "hub_model_id", "base_hub_id", "merge", "license", "accept_license")
    if other := next((name for name, value in options.items() if value and name not in what), None):
        raise UsageError(
            f"--to-folder sends nothing, and --{other.replace('_', '-')} is about the Hub.", "Leave one of them out."
        )
    return {name: options[name] for name in what}


def _asked_for(run: Path, private: bool) -> tuple[str, str]:
    """Kind and id of the repository of the folder's name, where somebody at a terminal agrees to it.

    Raises:
        UsageError: there is no terminal.
    """
    from mmpref.api.publish import NO_ID
    from mmpref.hub.publish_run import kind_of
    from mmpref.hub.target import find_target

    kind = kind_of(run)
    if not sys.stdin.isatty():
        raise UsageError(NO_ID.format(run=run), f"Name it with --hub-{kind}-id NAMESPACE/NAME.")
    target = find_target(None, kind, private=private, default_name=run.resolve().name)
    click.confirm(f"Publish {run} to {target.sentence}?", abort=True, err=True)
    return kind, target.repo_id
