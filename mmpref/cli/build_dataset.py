"""``mmpref build-dataset``: parse, build, show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import click

from mmpref.cli import common
from mmpref.errors import UsageError
from mmpref.tables.parts import PARTS


def _shard(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    index, slash, of = value.partition("/")
    if not (slash and index.isdigit() and of.isdigit() and int(index) < int(of)):
        raise click.BadParameter(f"{value!r} is not of the form I/N with I from 0 to N-1.")
    return int(index), int(of)


def _rho(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | Literal["auto"] | None:
    if value is None or value == "auto":
        return cast(Literal["auto"] | None, value)
    try:
        share: float = click.FloatRange(0, 1)(value, _param, _ctx)
    except click.BadParameter:
        raise click.BadParameter(f"{value!r} is neither a number from 0 to 1 nor auto.") from None
    return share


def _price(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        paid, got = (float(part) for part in value.split("/"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not of the form IN/OUT, such as 2.5/10.") from None
    return paid, got


@click.command()
@click.option("--method", help="How rejected answers are made; see `mmpref list datasets`. [default: bdhs]")
@click.option(
    "--model",
    help="Vision-language model: Hub id, folder, or, for methods that need no more than its answers, URL#MODEL of a"
    " server. [default: the testbed's]",
)
@click.option("--revision", help="Revision of the model.")
@click.option("--adapter", help="Adapter of `mmpref train`, Hub id or folder: the model writes with it on.")
@click.option("--adapter-revision", help="Revision of the adapter.")
@click.option(
    "--source",
    multiple=True,
    help="SFT or preference rows: Hub dataset or file of one (hf://datasets/...),"
    " file, folder, or a table of `mmpref list datasets`. Repeatable."
    " [default: the testbed's, or the published set that the method is named after]",
)
@click.option("--source-revision", help="Revision of a Hub source.")
@click.option(
    "--image-root",
    multiple=True,
    metavar="DIR|ZIP",
    help="Folder or .zip file that image paths are relative to. Repeatable.",
)
@common.columns_option(", ".join(PARTS))
@common.default_prompt_option
@click.option("--split", help="Split of the source. [default: train]")
@click.option("--skip", type=click.IntRange(min=0), metavar="N", help="Pass over the first rows.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first rows, of those not skipped.")
@click.option(
    "--where",
    multiple=True,
    metavar="'FIELD OP VALUE'",
    help="Use only rows for which it holds, such as 'margin >= 1'. Repeatable.",
)
@click.option("--subsample", type=click.IntRange(min=1), help="Draw so many of the rows, by the seed.")
@click.option(
    "--exclude-images-of",
    multiple=True,
    metavar="TABLE[:SPLIT]",
    help="Leave out rows with an image of this evaluation set. Repeatable. [split: test]",
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Hold out about a share of the rows, as a split that shares no image with the rest and is not trained on.",
)
@click.option(
    "--strip-metadata",
    is_flag=True,
    default=None,
    help="Take place, camera, texts and the like out of JPEG, PNG and WebP files; pixels and orientation stay.",
)
@click.option("--seed", type=int, help="Seed of every random draw. [default: 0]")
@click.option(
    "--rho-th",
    callback=_rho,
    metavar="RHO|auto",
    help="Image tokens are hidden where u < rho_th. auto: what the first try resolves on 64 rows decides."
    " [default: 0.99]",
)
@click.option(
    "--visible-tokens",
    type=click.FloatRange(min=0),
    help="The same by how many image tokens of a row stay visible in the mean.",
)
@click.option("--iterations", type=click.IntRange(min=1), help="Tries a pair, the last one unguided. [default: 5]")
@click.option("--similarity-threshold", type=float, help="A try is taken below this cosine. [default: 0.97]")
@click.option("--similarity-model", help="sentence-transformers model. [default: all-mpnet-base-v2]")
@click.option("--noise-steps", type=click.IntRange(0, 1000), help="Noise variant: diffusion steps instead of masking.")
@click.option("--guidance/--no-guidance", default=None, help="Continue the reference's sentences. [default: guidance]")
@click.option(
    "--annotator",
    metavar="WHO",
    help="Who ranks, rewrites or checks answers, for methods that ask somebody:"
    " URL#MODEL, a model, policy, MODULE:FUNCTION, or a name of `mmpref list annotators`.",
)
@click.option(
    "--prompt-file",
    type=common.UserPath(path_type=Path, exists=True, dir_okay=False),
    help="Template for the annotator, in place of the method's own.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Requests to an endpoint at a time.",
)
@click.option(
    "--token-price",
    callback=_price,
    metavar="IN/OUT",
    help="Price of a million tokens in and out, to show what the annotator cost.",
)
@click.option("--shard", callback=_shard, metavar="I/N", help="Work on every N-th block, from I, of the same --output.")
@common.workers_option
@common.push_options("dataset")
@common.replace_option
@common.license_option
@common.accept_license_option
@common.recipe_options
@common.output_options
def command(
    shard: tuple[int, int] | None,
    workers: int | None,
    concurrency: int,
    token_price: tuple[float, float] | None,
    push: bool,
    hub_id: str | None,
    private: bool,
    accept_license: bool,
    license: str | None,
    replace: bool,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a preference dataset: chosen answers from an SFT set, rejected ones by a method.

    \b
    Examples:
      mmpref build-dataset
      mmpref build-dataset --model llava-hf/llava-v1.6-vicuna-7b-hf --source me/sft --limit 5000
      mmpref build-dataset --rho-th 0.98 --output runs/rho98 --push --hub-dataset-id me/bdhs-98
      mmpref build-dataset --visible-tokens 4 --output runs/gist
      mmpref build-dataset --method povid --image-root coco/train2014
      mmpref build-dataset --method stic --model http://127.0.0.1:8000/v1#me/vlm --source me/sft
      mmpref build-dataset --method corrupt --annotator https://api.openai.com/v1#gpt-4o --source me/sft
      accelerate launch --num_processes 8 -m mmpref build-dataset --model me/vlm --source me/sft --output runs/bdhs
    """
    from mmpref.api.build import launched, run_build
    from mmpref.api.options import build_recipe
    from mmpref.api.planned import planned_build
    from mmpref.cli.announce import announce
    from mmpref.cli.checks import check
    from mmpref.data.validation_split import VALIDATION
    from mmpref.hub.licence_check import check_licences
    from mmpref.hub.staged_files import data_files

    recipe = build_recipe(**options)
    announce(recipe)
    plan = partial(planned_build, recipe, output)
    check(recipe, plan=plan)
    if shard and (push or hub_id):
        raise UsageError("--shard cannot be pushed.", "Run again without --shard when every shard is done.")
    rank, _ = launched()
    target = None
    if rank == 0:
        splits = (recipe.split, *((VALIDATION,) if recipe.validation is not None else ()))
        replaced = () if replace else data_files(splits)
        target = common.push_target(push, hub_id, "dataset", plan, private=private, replaced=replaced)

    def check_source(source: Mapping[str, Any]) -> None:
        if target is not None:
            check_licences(source, accept_license)

    built = run_build(
        recipe,
        output,
        shard=shard,
        workers=workers,
        concurrency=concurrency,
        token_price=token_price,
        check_source=check_source,
        license=license,
    )
    if rank:
        return
    manifest = built.manifest
    if built.waiting:
        click.echo(f"Shard done; {built.waiting} of {manifest['blocks']} blocks are with other shards.", err=True)
        common.show(manifest, as_json, lambda: None)
        return
    published = common.publish(
        target, built.path, private, accept_license=accept_license, license=license, replace=replace
    )
    common.show_run(built, published, as_json)
