"""Whether a finished dataset is still that of its recipe: nothing that it was made of has changed since."""

from __future__ import annotations

from mmpref.data.builder import BUILDERS
from mmpref.data.open_source import missing_images
from mmpref.data.recipe import BuildRecipe
from mmpref.recipes.schema import build
from mmpref.run.directory import Run
from mmpref.tables.made_of import refuse_changed_tables, refuse_found_images


def refuse_changed(run: Run, recipe: BuildRecipe) -> None:
    """Not to give the pairs of one source, model or adapter as those of another that has its name since. It is warned
    of what cannot be looked at any more.

    Args:
        run: a finished one.
        recipe: as the user has it, or with every setting of its method.

    Raises:
        RunError: the source, its images, the data of ``exclude_images_of``, the model or the adapter has changed.
    """
    from mmpref.vlm.made_with import refuse_changed_adapter, refuse_changed_model

    manifest, builder = run.manifest(), BUILDERS.get(recipe.method)
    source = manifest["source"]
    facts = source.get("sources", [source])
    tables = refuse_changed_tables(run.path, "The source", facts, recipe.source_config, builder.origin)
    refuse_changed_tables(run.path, "The data of --exclude-images-of:", manifest.get("excluded", []))
    # Of several tables each has a folder of its own, and the list of missing images says not which.
    roots = recipe.image_root or (tables[0].images if len(facts) == len(tables) == 1 else ())
    if roots:
        refuse_found_images(run.path, missing_images(run), roots)
    adapter = builder.adapter(build(builder.config(), recipe.builder, f"builder {recipe.method}")) or recipe.adapter
    refuse_changed_adapter(run.path, adapter, manifest.get("adapter"))
    refuse_changed_model(run.path, recipe.model, run.pinned("model").get("weights"))
