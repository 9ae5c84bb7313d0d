"""``mmpref inspect``: statistics and problems of a preference dataset, and a gallery to read it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_table

if TYPE_CHECKING:
    from mmpref.tables.table import Table
    from mmpref.vlm.policy import Policy


@click.command()
@click.argument("dataset")
@click.option("--split", help="Split of the dataset. [default: train]")
@click.option("--revision", help="Revision of a Hub dataset.")
@click.option(
    "--image-root",
    multiple=True,
    metavar="DIR",
    help="Folder that image paths are relative to. Repeatable. [default: the dataset's]",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page of rows with images, filters and marked differences.",
)
@click.option(
    "--model",
    callback=common.model_name,
    help="Score the answers under this model: margins, and lengths in its tokens.",
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=5000, show_default=True, help="Rows in the gallery, at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    dataset: str,
    split: str | None,
    revision: str | None,
    image_root: tuple[str, ...],
    html: Path | None,
    model: str | None,
    samples: int,
    as_json: bool,
) -> None:
    """Check and show a preference dataset: a run, a folder, a file or a Hub id.

    \b
    Examples:
      mmpref inspect runs/build-dataset-bdhs-0c0ffee0
      mmpref inspect pairs.jsonl --image-root photos --html gallery.html
      mmpref inspect me/bdhs-5k --split train --json
    """
    from mmpref.cli.pages.gallery import Gallery
    from mmpref.data.inspect import inspect
    from mmpref.tables.open import open_table, refuse_split
    from mmpref.vlm.special_tokens import special_token_in, special_tokens_of

    refuse_split(dataset, split or "train")
    gallery = Gallery(samples) if html else None
    table = open_table(dataset, split, revision=revision)
    policy = _policy(model) if model else None
    special = special_token_in(special_tokens_of(policy.tokenizer)) if policy else None
    report = inspect(table, image_root, gallery.add if gallery else None, special)
    if policy:
        report = {**report, "under_model": _under(policy, table, image_root)}
    if html and gallery:
        gallery.write(html, report, list(_lines(report)))
        report = {**report, "html": str(html)}
    common.show(report, as_json, lambda: _print(report))


def _policy(model: str) -> Policy:
    from mmpref.types import ModelRef
    from mmpref.vlm.load import load_policy

    return load_policy(ModelRef(model))


def _under(policy: Policy, table: Table, image_root: tuple[str, ...]) -> dict[str, Any]:
    from mmpref.cli.progress import Progress
    from mmpref.data.policy_margins import under_model

    with Progress("rows") as progress:
        return under_model(policy, table, image_root, progress.reach)


def _print(report: Mapping[str, Any]) -> None:
    dataset = report["dataset"]
    print_table(f"{dataset['id']} ({dataset['split']})", ("", ""), list(_lines(report)))
    found = [
        (kind, entry["count"], place["row"], place["column"], place["detail"] if index < 3 else "...")
        for kind, entry in report["problems"].items()
        for index, place in enumerate(entry["first"][:4])
    ]
    if found:
        click.echo()
        print_table("problems", ("kind", "rows in all", "row", "column", "what"), found)
    if repeated := report["repeats"]["sentences"]:
        click.echo()
        print_table(
            "sentences that rejected answers repeat",
            ("sentence", "rejected", "chosen"),
            [(one["text"], one["rejected"], one["chosen"]) for one in repeated[:5]],
        )
    if "html" in report:
        click.echo(f"\nGallery: {report['html']}")


def _lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    bias, similarity = report["length_bias"], report["similarity"]
    yield "rows", str(report["rows"])
    yield "columns", ", ".join(report["columns"])
    yield "problems", ", ".join(f"{entry['count']} {kind}" for kind, entry in report["problems"].items()) or "none"
    for name in ("chosen", "rejected"):
        yield f"words in {name} (mean, median, least, most)", _spread(report["words"][name])
    yield "chosen minus rejected words", _spread(bias)
    if bias["chosen_longer"] is not None:
        yield "rows whose chosen answer is longer", f"{bias['chosen_longer']:.1%}"
    if bias["ratio"] is not None:
        yield "length of rejected answers over chosen ones", f"{bias['ratio']:.3f}"
    for warning in report["warnings"]:
        yield "WARNING", warning
    if similarity["measured"]:
        yield f"similarity of {similarity['measured']} rows", _spread(similarity)
    if report["not_read"]:
        yield "columns like answers or parts of the question that are not read", ", ".join(report["not_read"])
    if report["changed"]:
        yield (
            "rows changed as training changes them",
            ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in report["changed"].items()),
        )
    yield "share of words that differ", _spread(report["differing_words"])
    yield "images a row", ", ".join(f"{count}: {rows} rows" for count, rows in report["images_per_row"].items())
    yield "sources", ", ".join(f"{name}: {rows} rows" for name, rows in list(report["sources"].items())[:8])
    for kind, entry in report["near_duplicates"].items():
        first = entry["first"][0]
        yield (
            f"rows whose {kind} nearly equal{'s' * (kind == 'image')} an earlier row's",
            (f"{entry['count']}, the first: row {first['row']} like {first['like']}"),
        )
    for name, counts in report["repeats"]["tells"].items():
        yield name, f"{counts['rejected']} rejected, {counts['chosen']} chosen answers"
    yield "methods", ", ".join(f"{name}: {rows} rows" for name, rows in report["methods"].items())
    if under := report.get("under_model"):
        yield f"log-probability margin under {under['model']}", _spread(under["margin"])
        yield "the same a token", _spread(under["margin_per_token"])
        if under["prefers_chosen"] is not None:
            yield (
                "rows where it prefers chosen (by sum, by token)",
                (f"{under['prefers_chosen']:.1%}, {under['prefers_chosen_per_token']:.1%}"),
            )
        yield "image tokens a row", _spread(under["image_tokens"])
        yield f"tokens a row, of {under['context']}", _spread(under["tokens"])


def _spread(values: Mapping[str, float | None]) -> str:
    if values["mean"] is None:
        return "no pair to measure"
    return ", ".join(f"{values[name]:g}" for name in ("mean", "median", "min", "max"))
