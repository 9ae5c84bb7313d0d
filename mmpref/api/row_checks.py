"""Before a recipe's work starts: whether rows of this machine have the columns that it names, and whether the images
that they name are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmpref.align.recipe import TrainRecipe
from mmpref.data.recipe import BuildRecipe
from mmpref.recipes.names import named
from mmpref.recipes.schema import build
from mmpref.registry import resolve_path
from mmpref.tables.messages import Unusable
from mmpref.tables.table import Row, Table

_LARGEST = 2_000_000_000
"""Bytes of a file or folder beyond which only the step itself looks: to open rows is to read all of their files, or of
a folder of images."""


def check_rows(recipe: Any, made: Collection[str] = ()) -> None:
    """Look at the rows of this machine that a recipe builds from or trains on; benchmarks look at theirs, as
    `mmpref.api.checks.open_data` does. How many images are missing is logged.

    Args:
        made: settings whose values an earlier step makes, such as ``dataset``: these are not looked at.

    Raises:
        UsageError: a column's name that is no part of a row, or that nothing reads.
        InputError: a column that a table has not, rows that cannot be read, or no image that any of them names.
    """
    from mmpref.align.method import METHODS
    from mmpref.data.builder import BUILDERS
    from mmpref.data.sources import reading, shaped_rows
    from mmpref.tables.columns import own_columns
    from mmpref.tables.image_lookup import look_for_images

    reader, skip = None, 0
    needs: tuple[str, ...] = ("chosen",)
    if isinstance(recipe, BuildRecipe):
        builder = BUILDERS.get(recipe.method)
        settings = build(builder.config(), recipe.builder, f"builder {recipe.method}")
        reader, skip = builder.reads(settings, recipe.seed), recipe.skip or 0
        needs = ("chosen", "rejected") if builder.needs_pairs else needs
    elif isinstance(recipe, TrainRecipe):
        method = METHODS.get(recipe.method)
        needs = method.answers(build(method.settings, recipe.loss, "loss"))
    else:
        return

    def usable(raw: Row) -> Iterator[Mapping[str, Any]]:
        return (row for row in shaped_rows(reader, raw) if not isinstance(row, Unusable))

    for table in own_columns([*_tables(recipe, made)], recipe.columns, recipe.default_prompt, reading(reader)):
        look_for_images(table, recipe.image_root, recipe.limit, needs=needs, skip=skip, rows_of=usable)


def _tables(recipe: BuildRecipe | TrainRecipe, made: Collection[str]) -> Iterator[Table]:
    """The tables of this machine; large ones only where columns are named."""
    from mmpref.data.builder import BUILDERS
    from mmpref.tables.open import open_table, refuse_absent

    config, origin = None, None
    if isinstance(recipe, BuildRecipe):
        config, origin = recipe.source_config, BUILDERS.get(recipe.method).origin
    for one in named(recipe):
        if one.kind == "table" and one.key in ("source", "dataset") and one.key not in made:
            for spec in one.values:
                if not refuse_absent(spec, recipe.split) and (recipe.columns or not _is_large(spec)):
                    yield open_table(spec, recipe.split, config=config, origin=origin)


def _is_large(spec: str) -> bool:
    path, size = Path(resolve_path(spec)).expanduser(), 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        size += file.stat().st_size if file.is_file() else 0
        if size > _LARGEST:
            return True
    return False
