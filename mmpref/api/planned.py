"""Which run a command is going to make: its folder and its recipe's hash, before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import UsageError
from mmpref.recipes import resolve
from mmpref.recipes.schema import build, fingerprint
from mmpref.run.directory import default_path, is_finished_run_of

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

    @property
    def is_finished(self) -> bool:
        """Whether it is made: nothing that its recipe names is needed any more."""
        return is_finished_run_of(self.path, self.recipe_hash)


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
    from mmpref.api.watching import with_watched

    recipe = with_watched(recipe, name)
    if not recipe.dataset:
        recipe = dataclasses.replace(recipe, dataset=(str(planned_build(recipe_of_pairs(recipe, name)).path),))
    return _planned("train", recipe.method, spelled_out(recipe), output)


def recipe_of_pairs(recipe: TrainRecipe, name: str | None) -> BuildRecipe:
    """How the preference data are built of a training that names none.

    Args:
        name: of the recipe whose source they are built from.

    Raises:
        UsageError: the recipe of that name names no source, or the training's says what columns of one's own data are
            called.
    """
    from mmpref.data.recipe import BuildRecipe, section_for_method

    if recipe.columns:
        raise UsageError(
            "--columns says what your own preference data call their columns, and none are named.",
            "Name them with --dataset.",
        )
    section = resolve.section(name, "build-dataset", BuildRecipe, section_for_method)
    if not section.get("source"):
        raise UsageError(
            f"The recipe {name!r} names no source to build preference data from.",
            "Name preference data with --dataset.",
        )
    return build(BuildRecipe, {**section, "model": recipe.model, "revision": recipe.revision}, "build-dataset recipe")


def planned_evaluation(recipe: EvaluateRecipe, output: Path | None = None) -> PlannedRun:
    """That of ``evaluate``."""
    from mmpref.bench.evaluate import spelled_out

    return _planned("evaluate", recipe.title, spelled_out(recipe), output)


def planned(recipe: BuildRecipe | TrainRecipe | EvaluateRecipe, name: str | None, output: Path) -> PlannedRun:
    """That of the command whose recipe it is.

    Args:
        name: as of `planned_train`.
    """
    from mmpref.align.recipe import TrainRecipe
    from mmpref.data.recipe import BuildRecipe

    if isinstance(recipe, BuildRecipe):
        return planned_build(recipe, output)
    return (
        planned_train(recipe, name, output) if isinstance(recipe, TrainRecipe) else planned_evaluation(recipe, output)
    )
