"""What a command is about to do, said on stderr before anything slow: imports, the Hub, a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mmpref.distributed import process_index

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe


def announce(recipe: BuildRecipe | TrainRecipe | EvaluateRecipe) -> None:
    """Say what the work of a resolved recipe is; one process of several does."""
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

    if process_index():
        return
    if isinstance(recipe, EvaluateRecipe):
        adapter = f" and {recipe.adapter}" if recipe.adapter else ""
        text = f"Evaluating {recipe.model}{adapter} on {', '.join(recipe.benchmarks)}."
    elif isinstance(recipe, BuildRecipe):
        text = f"Making pairs by {recipe.method} of {_names(recipe.source)}" + _with(recipe.model)
    else:
        text = f"Training {recipe.model} by {recipe.method}" + (
            f" on {_names(recipe.dataset)}." if recipe.dataset else "."
        )
    click.echo(text, err=True)


def _names(names: str | Sequence[str] | None) -> str:
    if not names:
        return "its own rows"
    return names if isinstance(names, str) else ", ".join(names)


def _with(model: str | None) -> str:
    return f" with {model}." if model else "."
