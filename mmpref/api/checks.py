"""Before a recipe's work starts: settings, folders and splits that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmpref.data.builder import BUILDERS
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import ModelError
from mmpref.hub_ids import refuse_page
from mmpref.registry import resolve_path
from mmpref.tables.in_memory import MEMORY
from mmpref.tables.open import refuse_split


def refuse_absent(recipe: Any) -> bool:
    """Look for the folders and splits of local files that a resolved recipe names.

    Returns:
        Whether it names models of the Hub.

    Raises:
        UsageError: the address of a Hub page in place of an id.
        ModelError: a model or adapter whose name can only be a path, where there is no such folder.
        InputError: a single file that has no such split.
    """
    named = {
        "model": None if getattr(recipe, "endpoint", None) else recipe.model,
        "adapter": getattr(recipe, "adapter", None),
    }
    if isinstance(recipe, BuildRecipe):
        named |= BUILDERS.get(recipe.method).models(recipe.builder)
    remote = False
    for what, name in named.items():
        refuse_page(name or "")
        if isinstance(name, str) and not name.startswith(MEMORY) and not Path(resolve_path(name)).exists():
            if name.startswith((".", "/", "~")) or name.count("/") > 1:
                raise ModelError(
                    f"Cannot load the {what} {name}: there is no such folder.",
                    "Check the path, or name a model of the Hub.",
                )
            remote = True
    if recipe.split:
        source = getattr(recipe, "source", None) or ()
        for spec in (*([source] if isinstance(source, str) else source), *getattr(recipe, "dataset", ())):
            refuse_split(spec, recipe.split)
    return remote
