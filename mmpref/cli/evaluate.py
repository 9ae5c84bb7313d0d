"""``mmpref evaluate``: parse, evaluate, show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_results

if TYPE_CHECKING:
    from mmpref.api.results import Evaluation


@click.command()
@click.option(
    "--model",
    help="Model: Hub id, folder, or URL#MODEL of an endpoint. [default: the testbed's]",
)
@click.option("--revision", help="Revision of the model.")
@click.option(
    "--adapter",
    help="Adapter to score beside the base: Hub id, run directory, or URL#NAME beside a served base.",
)
@click.option("--adapter-revision", help="Revision of the adapter.")
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    help="A benchmark, a suite or lmms-eval:TASK; see `mmpref list benchmarks`. Repeatable.",
)
@click.option(
    "--image-root",
    multiple=True,
    metavar="DIR|ZIP",
    help="Folder or .zip file that image paths in the benchmarks' data are relative to. Repeatable."
    " [default: the data's]",
)
@common.columns_option("question, answer, image, objects or what else a benchmark reads")
@click.option("--split", help="Split of the benchmarks' data.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first samples of each benchmark.")
@click.option(
    "--blind",
    type=click.Choice(["no-image", "masked"]),
    help="Control: ask without the images, or with all image tokens hidden.",
)
@click.option(
    "--judge",
    metavar="WHO",
    help="Who judges, for benchmarks that need it: URL#MODEL, a model, or judgements in a file.",
)
@click.option(
    "--judge-prompt",
    type=common.UserPath(path_type=Path, exists=True, dir_okay=False),
    help="Template for the judge, in place of the benchmark's own.",
)
@click.option("--judge-repeats", type=click.IntRange(min=1), help="Ask the judge so often, for its noise. [default: 1]")
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Requests to an endpoint at a time."
)
@common.workers_option
@click.option("--seed", type=int, help="Seed of the bootstrap. [default: 0]")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Answers at a time.")
@click.option(
    "--save",
    type=common.UserPath(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write the results there with evaluate.save.",
)
@click.option(
    "--html",
    type=common.UserPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page too: verdict, tables, plots, wins and losses with their images.",
)
@common.push_options("model")
@common.recipe_options
@common.output_options
def command(
    batch_size: int,
    concurrency: int,
    workers: int | None,
    save: Path | None,
    html: Path | None,
    push: bool,
    hub_id: str | None,
    private: bool,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run benchmarks on a model and, with --adapter, on both, with paired differences.

    \b
    Examples:
      mmpref evaluate
      mmpref evaluate --adapter runs/train-dpo-1a2b3c4d --html results.html
      mmpref evaluate --model llava-hf/llava-v1.6-vicuna-7b-hf --adapter me/vlm-bdhs --benchmark pope
      mmpref evaluate --model http://127.0.0.1:8000/v1#my-model --benchmark pope
      mmpref evaluate --blind masked
      mmpref evaluate --benchmark pope --set benchmark.pope.data=mine.csv --image-root photos --columns answer=label
    """
    from mmpref.api.evaluate import run_evaluate
    from mmpref.api.options import evaluate_recipe
    from mmpref.api.planned import planned_evaluation
    from mmpref.cli.announce import announce
    from mmpref.cli.checks import check
    from mmpref.distributed import process_index

    recipe = evaluate_recipe(**options)
    announce(recipe)
    plan = partial(planned_evaluation, recipe, output)
    check(recipe, plan=plan)
    target = common.push_target(push, hub_id, "model", plan, private=private, must_exist=True)
    evaluation = run_evaluate(
        recipe, output, batch_size=batch_size, concurrency=concurrency, workers=workers, save=save
    )
    if process_index():
        return
    path, manifest = evaluation.path, evaluation.manifest
    facts: dict[str, Any] = {"html": str(html)} if html else {}
    if html:
        _write_page(html, evaluation)
    facts |= common.publish(target, path, private)
    common.show({**manifest, "path": str(path), **facts}, as_json, lambda: _print(evaluation, facts))


def _write_page(file: Path, evaluation: Evaluation) -> None:
    from mmpref.bench.compare import compare
    from mmpref.cli.pages.compare import page

    *_, model = evaluation.results.models.values()  # the adapter, where there is one, with its base
    common.write_page(file, page(compare([evaluation.path]), f"Evaluation of {model}"))


def _print(evaluation: Evaluation, facts: Mapping[str, Any]) -> None:
    print_results(evaluation.results, evaluation.manifest)
    names = {"html": "page:"}
    for name, text in {"written to": str(evaluation.path), **facts}.items():
        click.echo(f"{names.get(name, name)} {text}")
