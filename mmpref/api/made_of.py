"""Whether a finished chain is still what its recipe says: nothing that its rounds were made of has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpref.align.recipe import TrainRecipe
from mmpref.align.watched import refuse_changed_watched
from mmpref.api import checks
from mmpref.api.chain import STEPS
from mmpref.api.checks import Recipe, is_finished
from mmpref.api.watching import watcher
from mmpref.bench import made_of as evaluation
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import HubError, InputError
from mmpref.recipes.schema import build
from mmpref.run.directory import Run, open_run
from mmpref.run.inputs import warn_unchecked
from mmpref.run.manifest import read_manifest
from mmpref.run.rounds import start_folder, test_folder

_RECIPES: Mapping[str, type[Recipe]] = {
    "build-dataset": BuildRecipe,
    "train": TrainRecipe,
    "evaluate": EvaluateRecipe,
}


def refuse_changed(chain: Path, manifest: Mapping[str, Any]) -> None:
    """Not to give the rounds of one source, base or benchmark as those of another that has its name since. It is warned
    of what cannot be looked at any more.

    Args:
        chain: folder of the finished chain.
        manifest: its.

    Raises:
        RunError: something that a round, or the evaluation before or after all rounds, was made of has changed.
    """
    first, *others = _runs(chain, manifest)
    _refuse(first)  # names no folder of the chain, unlike the others
    if _was_moved(chain):
        warn_unchecked(chain, "all that its rounds name", "the folder was moved")
        return
    for run in others:
        _refuse(run)


def _runs(chain: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    numbers = [row["round"] for row in manifest["rounds"]]
    yield from (chain / f"round-{number}" / step for number in numbers for step in STEPS)
    yield start_folder(chain)
    yield test_folder(chain, manifest["kept"])


def _refuse(path: Path) -> None:
    if not is_finished(path):
        return
    manifest = read_manifest(path)
    command = manifest["command"]
    recipe = build(_RECIPES[command], manifest["recipe"])
    if isinstance(recipe, EvaluateRecipe):
        evaluation.refuse_changed(open_run(path, command, recipe), recipe)
        return
    checks.refuse_changed(recipe, path)
    if isinstance(recipe, TrainRecipe):
        _refuse_watched(open_run(path, command, recipe), recipe)


def _refuse_watched(run: Run, recipe: TrainRecipe) -> None:
    try:
        evaluator = watcher(recipe)
    except (HubError, InputError) as error:
        warn_unchecked(run.path, "what it watches", str(error))
    else:
        refuse_changed_watched(run, evaluator)


def _was_moved(chain: Path) -> bool:
    """Whether the paths that its runs have of each other lead elsewhere."""
    here, trained = (chain / "round-1" / step for step in ("build-dataset", "train"))
    if not is_finished(trained):
        return False
    named = Path(read_manifest(trained)["recipe"]["dataset"][0])
    return not (named.exists() and here.exists() and named.samefile(here))
