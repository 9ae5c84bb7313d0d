"""``mmpref train``: parse, train, show."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.cli import common
from mmpref.cli.format import print_table
from mmpref.cli.progress import Progress
from mmpref.errors import UsageError
from mmpref.recipe import resolve
from mmpref.recipe import schema as recipes

if TYPE_CHECKING:
    from mmpref.align.recipe import Evaluator, TrainRecipe


@click.command()
@click.option("--method", help="Training method; see `mmpref list methods`. [default: dpo]")
@click.option(
    "--model", callback=common.model_name, help="Vision-language model: Hub id or folder. [default: the testbed's]"
)
@click.option("--revision", help="Revision of the model.")
@click.option("--dataset", multiple=True, help="Preference data: Hub id, file or folder. Repeatable. [default: built]")
@click.option(
    "--image-root",
    multiple=True,
    metavar="DIR|ZIP",
    help="Folder or ZIP that image paths are relative to. Repeatable. [default: the dataset's]",
)
@click.option(
    "--annotator",
    metavar="WHO",
    help="Who ranks answers, for methods that ask somebody: URL#MODEL, a model,"
    " policy, MODULE:FUNCTION, or a name of `mmpref list annotators`.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first rows.")
@click.option("--seed", type=int, help="Seed of initial weights and row order. [default: 0]")
@click.option("--eval-benchmark", multiple=True, help="Evaluate on it while training. Repeatable.")
@click.option("--eval-every", type=click.IntRange(min=1), metavar="STEPS", help="How often. [default: 100]")
@click.option("--eval-limit", type=click.IntRange(min=1), help="Only the first samples of each benchmark.")
@click.option("--eval-split", help="Split of the benchmarks' data; what is chosen by it cannot be reported on it.")
@click.option("--best", metavar="BENCHMARK/METRIC", help="Keep the adapter of the step where this is best.")
@click.option("--patience", type=click.IntRange(min=1), help="Stop after so many evaluations without a new best.")
@click.option(
    "--base-hub-id",
    metavar="NAMESPACE/NAME",
    callback=common.hub_name,
    help="Hub id that a pushed adapter names as its base.",
)
@common.push_options("model")
@common.recipe_options
@common.output_options
def command(
    method: str | None,
    model: str | None,
    revision: str | None,
    dataset: tuple[str, ...],
    image_root: tuple[str, ...],
    annotator: str | None,
    limit: int | None,
    seed: int | None,
    eval_benchmark: tuple[str, ...],
    eval_every: int | None,
    eval_limit: int | None,
    eval_split: str | None,
    best: str | None,
    patience: int | None,
    base_hub_id: str | None,
    push: bool,
    hub_id: str | None,
    private: bool,
    recipe_name: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Train a LoRA adapter, and the projector, on preference data.

    \b
    Examples:
      mmpref train
      mmpref train --model llava-hf/llava-v1.6-vicuna-7b-hf --dataset me/bdhs-5k
      accelerate launch --num_processes 8 -m mmpref train --model me/vlm --dataset me/bdhs-5k --output runs/dpo
      mmpref train --eval-benchmark chair --eval-split dev --eval-every 20 --best chair/chair_i --patience 3
      mmpref train --dataset runs/rho98 --set trainer.learning_rate=5e-6 --hub-model-id me/vlm-bdhs
    """
    from mmpref.align.method import METHODS
    from mmpref.align.recipe import TrainRecipe
    from mmpref.align.summary import summary
    from mmpref.align.train import train
    from mmpref.distributed import num_processes, process_index
    from mmpref.hub.cards.model import write_model_card

    options: dict[str, Any] = {
        "method": method,
        "model": model,
        "revision": revision,
        "dataset": dataset,
        "image_root": image_root,
        "annotator": annotator,
        "limit": limit,
        "seed": seed,
        "watch.benchmarks": eval_benchmark,
        "watch.every": eval_every,
        "watch.limit": eval_limit,
        "watch.split": eval_split,
        "watch.best": best,
        "watch.patience": patience,
    }
    recipe = common.resolve(TrainRecipe, "train", recipe_name, options, assignments, model is not None)
    METHODS.get(recipe.method)  # a name that is none is told before anything is built
    recipe, evaluate = _watched(recipe, recipe_name or (resolve.PAPER if model else resolve.TESTBED))
    main = process_index() == 0
    target = common.push_target(push, hub_id, "model", output) if main else None
    if not recipe.dataset and num_processes() > 1:
        raise UsageError("Several processes need preference data that is there.", "Name it with --dataset.")
    if not recipe.dataset:
        built = _build(recipe_name or (resolve.PAPER if model else resolve.TESTBED), recipe.model, recipe.revision)
        recipe = dataclasses.replace(recipe, dataset=(str(built),))
    with Progress("steps", watched=main) as progress:
        manifest = train(recipe, output, evaluate=evaluate, write_card=write_model_card, on_progress=progress.reach)
    if not main:
        return
    path = common.run_path("train", recipe.method, manifest, output)
    published = common.publish(target, path, private, base_hub_id=base_hub_id)
    rows = [*summary(manifest), ("written to", str(path)), *published.items()]
    common.show({**manifest, "path": str(path), **published}, as_json, lambda: print_table("adapter", ("", ""), rows))


def _watched(recipe: TrainRecipe, recipe_name: str) -> tuple[TrainRecipe, Evaluator | None]:
    """The recipe with the settings of the benchmarks that it watches, and who evaluates them.

    A benchmark's settings are those that the same recipe has for ``mmpref evaluate``.
    """
    from mmpref.bench.while_training import Watch

    watch = recipe.watch
    if not watch.benchmarks:
        return recipe, None
    known = (resolve.load(recipe_name).get("evaluate") or {}).get("benchmark") or {}
    settings = {
        name: resolve.merge(known.get(name) or {}, watch.benchmark.get(name) or {}) for name in watch.benchmarks
    }
    recipe = dataclasses.replace(recipe, watch=dataclasses.replace(watch, benchmark=settings))
    return recipe, Watch(watch.benchmarks, settings, split=watch.split, limit=watch.limit)


def _build(recipe_name: str, model: str, revision: str | None) -> Path:
    """Build the preference data that the same recipe makes, in its default directory; finished work is kept."""
    from mmpref.data.build import build_dataset
    from mmpref.data.recipe import BuildRecipe
    from mmpref.hub.cards.dataset import write_dataset_card

    section = resolve.for_method(BuildRecipe, resolve.load(recipe_name).get("build-dataset") or {}, {})
    if not section.get("source"):
        raise UsageError(
            f"The recipe {recipe_name!r} names no source to build preference data from.",
            "Name preference data with --dataset.",
        )
    recipe = recipes.build(BuildRecipe, {**section, "model": model, "revision": revision}, "build-dataset recipe")
    click.echo(f"No --dataset: building the one of the recipe {recipe_name!r} first.", err=True)
    with Progress("pairs") as progress:
        manifest = build_dataset(recipe, write_card=write_dataset_card, on_progress=progress.block)
    return common.run_path("build-dataset", recipe.method, manifest, None)
