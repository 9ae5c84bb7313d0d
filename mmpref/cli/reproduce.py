"""``mmpref reproduce``: a recipe's dataset, adapter and evaluation, one after the other, and one report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmpref.cli import common
from mmpref.cli.list import lacking
from mmpref.cli.progress import Progress
from mmpref.errors import UsageError
from mmpref.recipe import resolve
from mmpref.run.manifest import read_manifest
from mmpref.run.results import RESULTS, Results

STEPS = ("build-dataset", "train", "evaluate", "report")


@click.command()
@click.argument("name")
@click.option("--only", type=click.Choice(STEPS), multiple=True, help="Do only these steps. Repeatable.")
@common.output_options
def command(name: str, only: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Run the recipe NAME end to end: dataset, adapter, evaluation of base and adapter, one HTML report.

    \b
    Examples:
      mmpref reproduce testbed
      mmpref reproduce testbed --output runs/mine --only evaluate --only report
    """
    sections = resolve.load(name)
    missing = [step for step in STEPS[:-1] if step not in sections]
    if missing:
        raise UsageError(f"The recipe {name} has no section {missing[0]!r}, so it cannot be run end to end.")
    steps = [step for step in STEPS if not only or step in only]
    if needed := lacking(sections, steps):
        raise UsageError(
            f"The recipe {name} names no {' and no '.join(needed)}, so it cannot be run end to end.", _by_hand(name)
        )
    root = output or Path("runs") / f"reproduce-{name}"
    for step in steps:
        click.echo(f"{step} ...", err=True)
        _RUN[step](name, root)
    report = root / "report.html"
    result: dict[str, Any] = {"path": str(root), "report": str(report)}
    if (root / "evaluate" / "run.json").is_file():
        result["evaluation"] = Results.read(root / "evaluate").as_dict()
    common.show(result, as_json, lambda: _print(root, report))


def _by_hand(recipe: str) -> str:
    """The commands that do with a model what a recipe without one cannot."""
    with_recipe = f"--recipe {recipe} --model MODEL"
    return (
        f"Run its commands one by one: `mmpref build-dataset {with_recipe} --source ROWS --output runs/data`, `mmpref "
        f"train {with_recipe} --dataset runs/data --output runs/adapter`, `mmpref evaluate {with_recipe} --adapter "
        "runs/adapter`."
    )


def _build(name: str, root: Path) -> None:
    from mmpref.data.build import build_dataset
    from mmpref.data.recipe import BuildRecipe
    from mmpref.hub.cards.dataset import write_dataset_card

    recipe = common.resolve(BuildRecipe, "build-dataset", name, {}, (), has_model=False)
    with Progress("pairs") as progress:
        build_dataset(recipe, root / "build-dataset", write_card=write_dataset_card, on_progress=progress.block)


def _train(name: str, root: Path) -> None:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.align.train import train
    from mmpref.hub.cards.dataset import write_model_card

    options = {"dataset": (str(_needs(root, "build-dataset")),)}
    recipe = common.resolve(TrainRecipe, "train", name, options, (), has_model=False)
    train(recipe, root / "train", write_card=write_model_card)


def _evaluate(name: str, root: Path) -> None:
    from mmpref.bench.evaluate import evaluate
    from mmpref.bench.recipe import EvaluateRecipe

    options = {"adapter": str(_needs(root, "train"))}
    recipe = common.resolve(EvaluateRecipe, "evaluate", name, options, (), has_model=False)
    with Progress("answers") as progress:
        evaluate(recipe, root / "evaluate", on_progress=progress.advance)


def _report(_name: str, root: Path) -> None:
    from mmpref.cli.pages.report import write_report

    write_report(root, _needs(root, "build-dataset"), _needs(root, "train"), _needs(root, "evaluate"))


_RUN = {"build-dataset": _build, "train": _train, "evaluate": _evaluate, "report": _report}


def _needs(root: Path, step: str) -> Path:
    """The finished run of an earlier step.

    Raises:
        RunError: it is not there or not finished.
    """
    read_manifest(root / step)
    return root / step


def _print(root: Path, report: Path) -> None:
    from mmpref.cli.format import print_results

    if (root / "evaluate" / RESULTS).is_file():
        print_results(Results.read(root / "evaluate"))
    for path in (root / "build-dataset", root / "train", root / "evaluate"):
        if path.is_dir():
            click.echo(f"{path.name}: {path}")
    if report.is_file():
        click.echo(f"report: {report.resolve()}")
