"""``mmpref publish``: parse, publish, show."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from mmpref.cli import common
from mmpref.cli.format import print_table
from mmpref.errors import UsageError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--hub-dataset-id",
    metavar="NAMESPACE/NAME",
    callback=common.hub_name,
    help="Where a dataset, or an evaluation's per-sample records, go.",
)
@click.option(
    "--hub-model-id",
    metavar="NAMESPACE/NAME",
    callback=common.hub_name,
    help="Where an adapter, or an evaluation's results, go.",
)
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing to main.")
@click.option(
    "--base-hub-id",
    metavar="NAMESPACE/NAME",
    callback=common.hub_name,
    help="Hub id of a base model that is a local path here.",
)
@click.option("--merge", is_flag=True, help="Of an adapter, publish the base with its weights merged in.")
@click.option("--push-samples", is_flag=True, help="Of an evaluation, push the per-sample records too.")
@click.option("--accept-license", is_flag=True, help="Publish although the licence of a source may forbid it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    run: Path,
    hub_dataset_id: str | None,
    hub_model_id: str | None,
    private: bool,
    create_pr: bool,
    base_hub_id: str | None,
    merge: bool,
    push_samples: bool,
    accept_license: bool,
    as_json: bool,
) -> None:
    """Publish a finished run directory: a dataset, an adapter, or an evaluation's results.

    One commit; publishing the same again makes none. An evaluation is merged into the adapter's card.

    \b
    Examples:
      mmpref publish runs/build-dataset-bdhs-1a2b3c4d --hub-dataset-id me/bdhs-5k
      mmpref publish runs/train-dpo-1a2b3c4d --hub-model-id me/vlm-bdhs --private
      mmpref publish runs/train-dpo-1a2b3c4d --hub-model-id me/vlm-bdhs-merged --merge
      mmpref publish runs/evaluate-pope-chair-1a2b3c4d --hub-model-id me/vlm-bdhs
      mmpref publish runs/evaluate-pope-chair-1a2b3c4d --hub-dataset-id me/vlm-bdhs-answers
    """
    from mmpref.hub.access import check_access
    from mmpref.hub.publish_run import kind_of, publish_run
    from mmpref.run.manifest import read_manifest

    samples_only = hub_dataset_id is not None and hub_model_id is None and read_manifest(run)["command"] == "evaluate"
    kind = "dataset" if samples_only else kind_of(run)
    given = {"dataset": hub_dataset_id, "model": hub_model_id}
    other = "model" if kind == "dataset" else "dataset"
    if given[other]:
        raise UsageError(f"{run} belongs in a {kind} repository.", f"Use --hub-{kind}-id.")
    if kind == "model" and read_manifest(run)["command"] == "train":
        from mmpref.align.adapter import check_saved

        check_saved(run)
    with tempfile.TemporaryDirectory(prefix="mmpref-merged-") as folder:
        merged = None
        if merge:
            from mmpref.align.merge_adapter import merge as merge_into

            check_access(given[kind] or run.resolve().name, "model")
            merged = Path(folder)
            merge_into(run, merged)
        published = publish_run(
            run,
            given[kind],
            private=private,
            create_pr=create_pr,
            base_hub_id=base_hub_id,
            push_samples=push_samples,
            samples_only=samples_only,
            accept_license=accept_license,
            merged=merged,
        )
    fields = asdict(published)
    rows = [(name.replace("_", " "), value) for name, value in fields.items() if value is not None]
    common.show(fields, as_json, lambda: print_table("published", ("", ""), rows))
