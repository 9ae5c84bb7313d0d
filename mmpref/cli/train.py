"""``mmpref train``: parse, train, show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.align.report_to import TRACKERS
from mmpref.cli import common
from mmpref.recipes.yaml_text import scalar
from mmpref.tables.parts import PARTS

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe


class _Positive(click.ParamType):
    """A number above 0, read as ``--set`` reads it: 2 is a whole number, so that both make the same recipe."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        number = scalar(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
            self.fail(f"{value!r} is not a number above 0.", param, ctx)
        return number


_POSITIVE = _Positive()


@click.command()
@click.option("--method", help="Training method; see `mmpref list methods`. [default: dpo]")
@click.option("--model", help="Vision-language model: Hub id or folder. [default: the testbed's]")
@click.option("--revision", help="Revision of the model.")
@click.option("--adapter", help="Go on from this adapter, Hub id or folder; the reference is the model with it on.")
@click.option("--adapter-revision", help="Revision of the adapter.")
@click.option("--dataset", multiple=True, help="Preference data: Hub id, file or folder. Repeatable. [default: built]")
@click.option(
    "--image-root",
    multiple=True,
    metavar="DIR|ZIP",
    help="Folder or ZIP that the dataset's image paths are relative to. Repeatable. [default: the dataset's]",
)
@common.columns_option(", ".join(PARTS))
@common.default_prompt_option
@click.option(
    "--annotator",
    metavar="WHO",
    help="Who ranks answers, for methods that ask somebody: URL#MODEL, a model,"
    " policy, MODULE:FUNCTION, or a name of `mmpref list annotators`.",
)
@click.option("--learning-rate", type=_POSITIVE, help="Of LoRA's parameters. [default: the method's]")
@click.option("--epochs", type=_POSITIVE, help="How often each row is trained on. [default: 3]")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Rows (with rloo: answers) a device and forward pass. [default: 4, and a step takes 8 of these]",
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
    "--report-to",
    multiple=True,
    type=click.Choice(TRACKERS),
    help="Tracker that logs go to as well; its files stay in the run. Repeatable.",
)
@click.option(
    "--base-hub-id",
    metavar="NAMESPACE/NAME",
    callback=common.hub_name,
    help="Hub id that a pushed adapter names as its base.",
)
@common.push_options("model")
@common.replace_option
@common.accept_license_option
@common.recipe_options
@common.output_options
def command(
    base_hub_id: str | None,
    push: bool,
    hub_id: str | None,
    private: bool,
    replace: bool,
    accept_license: bool,
    output: Path | None,
    as_json: bool,
    **options: Any,
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
    from mmpref.api.options import recipe_name, train_recipe
    from mmpref.api.planned import planned_train
    from mmpref.api.train import run_train
    from mmpref.api.watching import with_watched
    from mmpref.cli.announce import announce
    from mmpref.cli.checks import check
    from mmpref.distributed import process_index
    from mmpref.hub.licence_check import check_licences
    from mmpref.hub.staged_files import ADAPTER_FILES
    from mmpref.origins.earlier_data import earlier_data
    from mmpref.run.manifest import read_manifest

    name = recipe_name(options["recipe"], options["model"], options["set"])
    recipe = with_watched(train_recipe(**options), name)
    announce(recipe)
    plan = partial(planned_train, recipe, name, output)
    check(recipe, plan=plan)
    main = process_index() == 0
    target = None
    if main:
        replaced = () if replace else ADAPTER_FILES
        target = common.push_target(push, hub_id, "model", plan, private=private, replaced=replaced)
        if target and recipe.dataset:
            finished = read_manifest(plan().path) if plan().is_finished else None
            data = [*finished["datasets"], *earlier_data(finished)] if finished else _data_of(recipe)
            check_licences({"sources": data}, accept_license)
    trained = run_train(recipe, name, output)
    if not main:
        return
    published = common.publish(
        target, trained.path, private, base_hub_id=base_hub_id, accept_license=accept_license, replace=replace
    )
    common.show_run(trained, published, as_json)


def _data_of(recipe: TrainRecipe) -> list[Mapping[str, Any]]:
    """The facts of all tables that what comes of a training will have seen, those of its first adapter too.

    Raises:
        ModelError: there is no such adapter.
    """
    from mmpref.origins.earlier_data import data_of_adapter
    from mmpref.origins.revisions import adapter_facts
    from mmpref.tables.open import open_table
    from mmpref.vlm.load_errors import load_errors

    data: list[Mapping[str, Any]] = [open_table(spec, recipe.split).facts() for spec in recipe.dataset]
    if recipe.adapter:
        with load_errors(f"adapter {recipe.adapter}", name=recipe.adapter):
            data += data_of_adapter(adapter_facts(recipe.adapter, recipe.adapter_revision))
    return data
