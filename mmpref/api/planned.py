"""Which run a command is going to make: its folder and its recipe's hash, before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.recipes.schema import fingerprint
from mmpref.run.directory import default_path

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe


@dataclass(frozen=True)
class PlannedRun:
    """A run that is going to be made.

    Args:
        path: its folder.
        recipe_hash: of its recipe.
    """

    path: Path
    recipe_hash: str


def _planned(command: str, what: str, recipe: Any, output: Path | None) -> PlannedRun:
    return PlannedRun(output or default_path(command, what, recipe), fingerprint(recipe))


def planned_build(recipe: BuildRecipe, output: Path | None = None) -> PlannedRun:
    """That of ``build-dataset``."""
    from mmpref.data.build import spelled_out

    return _planned("build-dataset", recipe.method, spelled_out(recipe), output)


def planned_train(recipe: TrainRecipe, name: str | None, output: Path | None = None) -> PlannedRun:
    """That of ``train``.

    Args:
        name: as of `mmpref.api.train.run_train`.
    """
    from mmpref.align.train import spelled_out
    from mmpref.api.train import recipe_of_pairs
    from mmpref.api.watching import with_watched

    recipe = with_watched(recipe, name)
    if not recipe.dataset:
        recipe = dataclasses.replace(recipe, dataset=(str(planned_build(recipe_of_pairs(recipe, name)).path),))
    return _planned("train", recipe.method, spelled_out(recipe), output)


def planned_evaluation(recipe: EvaluateRecipe, output: Path | None = None) -> PlannedRun:
    """That of ``evaluate``."""
    from mmpref.bench.evaluate import spelled_out

    return _planned("evaluate", recipe.title, spelled_out(recipe), output)
