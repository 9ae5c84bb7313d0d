"""``mmpref reproduce``: a recipe's dataset, adapter and evaluation, one after the other, and one report; or a study."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmpref.api.wording import in_recipe, in_section, recipe_remarks, rewording
from mmpref.cli import common, reproduce_study
from mmpref.cli.checks import check
from mmpref.cli.list import lacking
from mmpref.errors import StaleRunError, UsageError
from mmpref.log import unsaid
from mmpref.recipes import resolve
from mmpref.registry import resolve_path, suggest
from mmpref.run.manifest import MANIFEST, STATE, read_manifest
from mmpref.run.results import RESULTS, Results
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

STEPS = ("build-dataset", "train", "evaluate", "report")
_STUDY_DEFAULTS = {"jobs": 1, "minutes": None, "scale": None}
"""Options that only a study has."""


@click.command()
@click.argument("name")
@click.option(
    "--only",
    multiple=True,
    metavar="STEP|ROW",
    help="Do only these steps of a recipe (build-dataset, train, evaluate, report), or rows of a study (bdhs*). "
    "Repeatable.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes of a study.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Begin nothing of a study after so many.")
@click.option("--scale", metavar="NAME", help="A study at another of its scales, such as paper.")
@click.option(
    "--dry-run", is_flag=True, help="Only check it all and print the commands; of a study, what is measured too."
)
@common.output_options
def command(name: str, only: tuple[str, ...], output: Path | None, as_json: bool, **study: Any) -> None:
    """Run the recipe NAME end to end (dataset, adapter, evaluation, one HTML report), or the study NAME: many rows over
    several seeds.

    \b
    Examples:
      mmpref reproduce my.yaml
      mmpref reproduce testbed
      mmpref reproduce testbed --output runs/mine --only evaluate --only report
      mmpref reproduce my.yaml --dry-run
      mmpref reproduce mine.yaml --only 'bdhs*' --jobs 2 --minutes 60
    """
    from mmpref.study import plan_file

    if plan_file.find(name):
        reproduce_study.reproduce(name, only, output, as_json, **study)
        return
    if name not in resolve.names() and not Path(name).expanduser().is_file():
        raise resolve.no_such(name, {*resolve.names(), *plan_file.names()}, "recipe or study")
    for option, default in _STUDY_DEFAULTS.items():
        if study[option] != default:
            raise UsageError(
                f"--{option.replace('_', '-')} is for studies, and {name} is none.", suggest(name, plan_file.names())
            )
    for step in only:
        if step not in STEPS:
            raise UsageError(f"A recipe has no step {step!r}.", suggest(step, STEPS))
    _reproduce(name, only, output, as_json, dry_run=study["dry_run"])


def _reproduce(name: str, only: tuple[str, ...], output: Path | None, as_json: bool, *, dry_run: bool) -> None:
    sections = resolve.load(name)
    missing = [step for step in STEPS[:-1] if step not in sections]
    if missing:
        raise UsageError(f"The recipe {name} has no section {missing[0]!r}, so it cannot be run end to end.")
    steps = [step for step in STEPS if not only or step in only]
    if needed := lacking(sections, steps):
        raise UsageError(
            f"The recipe {name} names no {' and no '.join(needed)}, so it cannot be run end to end.", _by_hand(name)
        )
    root = output or _folder_of(name)
    click.echo(f"Looking for all that the steps of {name} name.", err=True)
    recipes = _checked(name, root, steps)
    if dry_run:
        commands = [_command(name, root, step) for step in recipes]
        common.show({"commands": commands}, as_json, lambda: click.echo("\n".join(commands)))
        return
    for step in steps:
        click.echo(f"{step} ...", err=True)
        with rewording(*in_recipe(step)), _keeping(root, step):
            _RUN[step](recipes.get(step), name, root)
    report = root / "report.html"
    result: dict[str, Any] = {"path": str(root), "report": str(report)}
    if (root / "evaluate" / MANIFEST).is_file():
        result["evaluation"] = Results.read(root / "evaluate").as_dict()
    common.show(result, as_json, lambda: _print(root, report))


def _folder_of(name: str) -> Path:
    """Where a recipe's work lies: one folder for one file, however it is called."""
    file = Path(name).expanduser()
    if name in resolve.names() or not file.is_file():
        return Path("runs") / f"reproduce-{name}"
    file, here = file.parent.resolve() / file.name, Path.cwd()
    return Path("runs") / f"reproduce-{file.relative_to(here) if file.is_relative_to(here) else file}"


def _command(name: str, root: Path, step: str) -> str:
    """What does a step by hand."""
    inputs = {"train": ["--dataset", str(root / "build-dataset")], "evaluate": ["--adapter", str(root / "train")]}
    words = ["mmpref", step, "--recipe", name, *inputs.get(step, []), "--output", str(root / step)]
    return shlex.join(words)


def _by_hand(recipe: str) -> str:
    """The commands that do with a model what a recipe without one cannot."""
    with_recipe = f"--recipe {recipe} --model MODEL"
    return (
        f"Run its commands one by one: `mmpref build-dataset {with_recipe} --source ROWS --output runs/data`, `mmpref "
        f"train {with_recipe} --dataset runs/data --output runs/adapter`, `mmpref evaluate {with_recipe} --adapter "
        "runs/adapter`."
    )


def _checked(name: str, root: Path, steps: Sequence[str]) -> dict[str, Any]:
    """The recipes of these steps, with all that they name looked for, and the data of all but the first step read:
    what is wrong with the last step's is told before the first.

    Raises:
        MmprefError: as the step itself would.
    """
    from mmpref.api.checks import is_finished, look_up, open_data, refuse_changed, refuse_other_split
    from mmpref.api.planned import planned
    from mmpref.api.row_checks import check_rows

    recipes = _recipes(name, root, steps)
    for number, (step, recipe) in enumerate(recipes.items()):
        with in_section(name, step), _keeping(root, step):
            made, output = _MADE.get(step, ()), root / step
            check(recipe, made, partial(planned, recipe, name, output))
            if not is_finished(output):
                look_up(recipe, made)
                check_rows(recipe, made)
                if number:
                    open_data(recipe)
            elif is_finished(root / _BEFORE.get(step, step)):  # else its data are yet to be made
                refuse_changed(recipe, output)
    if {"build-dataset", "train"} <= recipes.keys():
        refuse_other_split(name, recipes["build-dataset"], recipes["train"])
    if {"train", "evaluate"} <= recipes.keys():
        _refuse_other_model(name, recipes["train"], recipes["evaluate"])
    return recipes


def _refuse_other_model(name: str, trained: TrainRecipe, evaluated: EvaluateRecipe) -> None:
    """An adapter belongs to the weights that it was trained on.

    Raises:
        UsageError: it is to be evaluated on others.
    """
    models = [ModelRef(str(one.model), one.revision) for one in (trained, evaluated)]
    paths = [Path(resolve_path(one.model)).expanduser() for one in models]
    same = models[0] == models[1] or all(path.exists() and path.samefile(paths[0]) for path in paths)
    if not same and not evaluated.endpoint:
        raise UsageError(
            f"{name}: train is of {models[0]}, and evaluate of {models[1]}, which its adapter does not belong to.",
            "Give both the same model and revision.",
        )


@contextmanager
def _keeping(root: Path, step: str) -> Iterator[None]:
    """Where the run of a step is stale, tell what to copy so that both stay, and what to delete so that all before it
    stays.

    Raises:
        StaleRunError: the same error.
    """
    try:
        yield
    except StaleRunError as error:
        there = {one: str(root / one) for one in STEPS if (root / one / STATE).is_dir()}
        before = [path for one, path in there.items() if STEPS.index(one) < STEPS.index(step)]
        # What was made of that run would be refused next.
        old = [path for one, path in there.items() if path not in before]
        if error.run == root / step and old:
            other = f"{root}-2"
            copy = f"{shlex.join(['mkdir', other])} && {shlex.join(['cp', '-r', *before, other])}"
            begun = f" that begins with what stays (`{copy}`, then --output {shlex.quote(other)})" if before else ""
            remove = shlex.join(["rm", "-r", *old])
            error.hint = f"Choose another --output{begun}, or delete it, with what was made of it, first: `{remove}`"
        raise


def _recipes(name: str, root: Path, steps: Sequence[str]) -> dict[str, Any]:
    from mmpref.api.options import build_recipe, evaluate_recipe, train_recipe
    from mmpref.api.watching import with_watched

    resolvers = {
        "build-dataset": lambda: build_recipe(recipe=name),
        "train": lambda: with_watched(train_recipe(recipe=name, dataset=root / "build-dataset"), name),
        "evaluate": lambda: evaluate_recipe(recipe=name, adapter=root / "train"),
    }
    sections, recipes = resolve.load(name), {}
    for step in (step for step in steps if step in resolvers):
        if (earlier := _BEFORE.get(step)) and earlier not in steps:
            _needs(root, earlier)
        with in_section(name, step):
            _refuse_replaced(sections, step, root)
            recipes[step] = resolvers[step]()
    return recipes


def _refuse_replaced(sections: Mapping[str, Any], step: str, root: Path) -> None:
    """What an earlier step makes stands in the place of what the recipe names.

    Raises:
        UsageError: it names something else.
    """
    setting, earlier = {"train": "dataset", "evaluate": "adapter"}.get(step), _BEFORE.get(step)
    if setting is None or earlier is None:
        return
    named = (sections.get(step) or {}).get(setting)
    if named and named not in (str(root / earlier), [str(root / earlier)]):
        more = "To train on more sets, unite them as sources of `method: mix`." if setting == "dataset" else ""
        raise UsageError(
            f"{setting} is {named!r}, and here it is what {earlier} makes.",
            f"Leave it out of the recipe, and give it to the command `mmpref {step}` alone. {more}".strip(),
        )


def _build(recipe: BuildRecipe, _name: str, root: Path) -> None:
    from mmpref.api.build import run_build

    run_build(recipe, root / "build-dataset")


def _train(recipe: TrainRecipe, name: str, root: Path) -> None:
    from mmpref.api.train import run_train

    _needs(root, "build-dataset")
    run_train(recipe, name, root / "train")


def _evaluate(recipe: EvaluateRecipe, _name: str, root: Path) -> None:
    from mmpref.api.evaluate import run_evaluate

    _needs(root, "train")
    run_evaluate(recipe, root / "evaluate")


def _report(_recipe: None, _name: str, root: Path) -> None:
    from mmpref.cli.pages.report import write_report

    write_report(root, _needs(root, "build-dataset"), _needs(root, "train"), _needs(root, "evaluate"))


_BEFORE = {"train": "build-dataset", "evaluate": "train"}
"""The step whose run a step goes on from."""
_MADE = {"train": ("dataset",), "evaluate": ("adapter",)}
"""Settings that an earlier step makes."""
_RUN: dict[str, Callable[[Any, str, Path], None]] = {
    "build-dataset": _build,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}


def _needs(root: Path, step: str) -> Path:
    """The finished run of an earlier step.

    Raises:
        RunError: it is not there or not finished.
    """
    read_manifest(root / step)
    return root / step


def _print(root: Path, report: Path) -> None:
    """What each finished step prints by itself, and where it all is."""
    from mmpref.api.results import BuiltDataset, TrainedAdapter
    from mmpref.cli.format import print_results

    for step, result in (("build-dataset", BuiltDataset), ("train", TrainedAdapter)):
        if (root / step / MANIFEST).is_file():
            common.print_run(result(root / step, read_manifest(root / step)))
    if (root / "evaluate" / RESULTS).is_file():
        manifest = read_manifest(root / "evaluate")
        remarks = recipe_remarks(unsaid(manifest.get("remarks", [])), "evaluate")
        print_results(Results.read(root / "evaluate"), {**manifest, "remarks": remarks})
    for path in (root / "build-dataset", root / "train", root / "evaluate"):
        if path.is_dir():
            click.echo(f"{path.name}: {path}")
    if report.is_file():
        click.echo(f"report: {report.resolve()}")
