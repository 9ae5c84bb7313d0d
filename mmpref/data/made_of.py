"""Whether a finished dataset is still that of its recipe: nothing that it was made of has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmpref.data.builder import BUILDERS
from mmpref.data.contamination import EXCLUDED_IMAGES
from mmpref.data.recipe import BuildRecipe
from mmpref.judges.named_files import refuse_changed_files
from mmpref.recipes.schema import build
from mmpref.run.directory import Run
from mmpref.tables.made_of import refuse_changed_tables
from mmpref.tables.named_images import named_images, refuse_changed_images


def refuse_changed(run: Run, recipe: BuildRecipe) -> None:
    """Not to give the pairs of one source, model or adapter as those of another that has its name since. It is warned
    of what cannot be looked at any more.

    Args:
        run: a finished one.
        recipe: as the user has it, or with every setting of its method.

    Raises:
        RunError: the source, its images, the data of ``exclude_images_of``, the model, the adapter, or a file or folder
            that a setting names, has changed.
    """
    manifest, builder = run.manifest(), BUILDERS.get(recipe.method)
    source = manifest["source"]
    facts = source.get("sources", [source])
    tables = refuse_changed_tables(run.path, "The source", facts, recipe.source_config, builder.origin)
    excluded = refuse_changed_tables(run.path, "The data of --exclude-images-of:", manifest.get("excluded", []))
    places = [recipe.image_root or (table.images if table else None) for table in tables]
    refuse_changed_images(run.path, named_images(run), places)
    places = [(*map(str, table.images), *recipe.image_root) if table else None for table in excluded]
    refuse_changed_images(run.path, run.pinned(EXCLUDED_IMAGES).get("tables", []), places)
    adapter = builder.adapter(build(builder.config(), recipe.builder, f"builder {recipe.method}")) or recipe.adapter
    refuse_changed_policy(run, recipe.model, adapter, manifest.get("adapter"))
    refuse_changed_files(run)


def refuse_changed_policy(
    run: Run, model: str | None, adapter: str | None, adapter_before: Mapping[str, Any] | None
) -> None:
    """The same of model and adapter alone, also of a run that goes on: where all blocks are done it loads neither.

    Args:
        adapter_before: `mmpref.origins.revisions.adapter_facts` of then; nothing where the run does not say.

    Raises:
        RunError: one has changed.
    """
    from mmpref.vlm.made_with import refuse_changed_adapter, refuse_changed_model

    refuse_changed_adapter(run.path, adapter, adapter_before)
    refuse_changed_model(run.path, model, run.pinned("model"))
