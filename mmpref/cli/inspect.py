"""``mmpref inspect``: what is in a preference dataset and wrong with it; where a model's hallucinations come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_table
from mmpref.errors import UsageError
from mmpref.log import counted
from mmpref.tables.parts import PARTS

if TYPE_CHECKING:
    from mmpref.api.results import Inspection

_SAMPLES = 5000
"""Rows in the gallery, unless something else is said."""


@click.command()
@click.argument("dataset", required=False)
@click.option("--split", help="Split of the dataset, or of the source. [default: train]")
@click.option("--revision", help="Revision of a Hub dataset.")
@click.option(
    "--image-root",
    multiple=True,
    metavar="DIR",
    help="Folder that image paths are relative to. Repeatable. [default: the dataset's]",
)
@common.columns_option(", ".join(PARTS))
@click.option(
    "--html",
    type=common.UserPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page of rows with images, filters and marked differences.",
)
@click.option(
    "--model",
    help="Score the answers under this model: margins of log-probability, and lengths, in the tokens that train counts"
    " (each answer's end is one). Without DATASET:"
    " where this model's hallucinations come from.",
)
@click.option("--adapter", help="Adapter of the model, Hub id or folder: on in all that is asked of it.")
@click.option("--adapter-revision", help="Revision of the adapter.")
@click.option(
    "--source",
    metavar="ROWS",
    help="Without DATASET: rows to ask the model about, with reference answers or objects. [default: the testbed's,"
    " for its model]",
)
@click.option("--rows", type=click.IntRange(min=1), help="So many of these at most. [default: 200]")
@click.option(
    "--synonyms",
    metavar="FILE",
    help="Table of objects and words, as CHAIR's authors have it. [default: words of the references]",
)
@click.option("--samples", type=click.IntRange(min=1), help="Rows in the gallery, at most. [default: 5000]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    dataset: str | None,
    split: str | None,
    revision: str | None,
    image_root: tuple[str, ...],
    columns: dict[str, str] | None,
    html: Path | None,
    model: str | None,
    adapter: str | None,
    adapter_revision: str | None,
    source: str | None,
    rows: int | None,
    synonyms: str | None,
    samples: int | None,
    as_json: bool,
) -> None:
    """Check and show a preference dataset: a run, a folder, a file or a Hub id.

    Problems are why training leaves rows out; notes are no reason to. Neither is an error of this command: its exit
    status is 0, and 1 only where `train` too would not read the dataset, or finds no columns of preference data in it.

    With --model and no DATASET: what do the hallucinations of this model follow, the image's gist or the text before
    them? Hallucinated words of its own answers are asked for again with the text before replaced, and with the image
    hidden but for a few tokens, and whole. BDHS should pay where they follow the gist; where they follow the text
    alone, it may not (docs/studies.md, "What the diagnosis tells"). With --adapter it is asked of the adapted model.

    \b
    Examples:
      mmpref inspect runs/build-dataset-bdhs-0c0ffee0
      mmpref inspect pairs.jsonl --image-root photos --html gallery.html
      mmpref inspect me/bdhs-5k --split train --json
      mmpref inspect --model me/vlm --source me/captions --rows 200 --synonyms synonyms.txt
      mmpref inspect --model me/vlm --adapter me/vlm-bdhs --source me/captions
    """
    from mmpref.api.inspect import refuse_no_base, refuse_of_model, run_inspect
    from mmpref.api.inspection_lines import lines
    from mmpref.cli.pages.gallery import Gallery

    if dataset is None:
        if html:
            raise UsageError("--html shows the rows of a dataset, and none is named.")
        _refuse_samples(samples)
        where: dict[str, Any] = {"split": split, "revision": revision, "image_root": image_root, "columns": columns}
        adapted = {"adapter": adapter, "adapter_revision": adapter_revision}
        _diagnose(model, source, rows, synonyms, {**adapted, **where}, as_json)
        return
    refuse_of_model(source=source, rows=rows, synonyms=synonyms)
    refuse_no_base(model, adapter, adapter_revision)
    if not html:
        _refuse_samples(samples)
    click.echo(f"Reading {dataset}.", err=True)
    gallery = Gallery(samples or _SAMPLES) if html else None
    inspection = run_inspect(
        dataset,
        split=split,
        revision=revision,
        image_root=image_root,
        columns=columns,
        model=model,
        adapter=adapter,
        adapter_revision=adapter_revision,
        on_row=gallery.add if gallery else None,
    )
    report = inspection.report
    if html and gallery:
        gallery.write(html, report, list(lines(report)))
        report = {**report, "html": str(html)}
    common.show(report, as_json, lambda: _print(inspection, report))


def _refuse_samples(samples: int | None) -> None:
    if samples is not None:
        raise UsageError("--samples is for the gallery, and none is written.", "Name its file with --html.")


def _diagnose(
    model: str | None,
    source: str | None,
    rows: int | None,
    synonyms: str | None,
    where: Mapping[str, Any],
    as_json: bool,
) -> None:
    from mmpref.api.inspect import ROWS, inspect

    if model:  # without one it refuses
        asked = " + ".join(filter(None, (model, where["adapter"])))
        click.echo(f"Asking {asked} about up to {counted(rows or ROWS, 'row')}.", err=True)
    found = inspect(model=model, source=source, rows=rows, synonyms=synonyms, **where)

    def table() -> None:
        print_table(found.title, *found.table())
        for line in found.remarks():
            click.echo(line)

    common.show(found.report, as_json, table)


def _print(inspection: Inspection, report: Mapping[str, Any]) -> None:
    print_table(inspection.title, *inspection.table())
    titles = {"problems": "problems: why training leaves rows out", "notes": "notes: no reason to leave a row out"}
    for name, title in titles.items():
        shown = [
            (kind, entry["count"], place, place["detail"] if index < 3 else "...")
            for kind, entry in report[name].items()
            for index, place in enumerate(entry["first"][:4])
        ]
        if shown:
            click.echo()
            _print_places(title, shown)
    if repeated := report["repeats"]["sentences"]:
        click.echo()
        print_table(
            "sentences that rejected answers repeat",
            ("sentence", "rejected", "chosen"),
            [(one["text"], one["rejected"], one["chosen"]) for one in repeated[:5]],
        )
    if "html" in report:
        click.echo(f"\nGallery: {report['html']}")


def _print_places(title: str, shown: Sequence[tuple[str, int, Mapping[str, Any], str]]) -> None:
    """A table of rows with something to be said: kind, how many there are, which one, and what; and the images of such
    rows where any of them names its own."""
    named = any("images" in place for _, _, place, _ in shown)
    columns = ("kind", "found", "row (from 0)", *(("image",) if named else ()), "column", "what")
    print_table(
        title,
        columns,
        [
            (
                kind,
                count,
                place["row"],
                *((", ".join(place.get("images", ())),) if named else ()),
                place["column"],
                what,
            )
            for kind, count, place, what in shown
        ],
    )
