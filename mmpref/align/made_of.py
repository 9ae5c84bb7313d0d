"""Whether a finished training is still that of its recipe: nothing that it was made of has changed since."""

from __future__ import annotations

from mmpref.align.recipe import TrainRecipe
from mmpref.judges.named_files import refuse_changed_files
from mmpref.run.directory import Run
from mmpref.tables.made_of import refuse_changed_tables
from mmpref.tables.named_images import named_images, refuse_changed_images
from mmpref.tables.open import with_split


def refuse_changed(run: Run, recipe: TrainRecipe) -> None:
    """Not to give the adapter of one data set, base or first adapter as that of another that has its name since. It is
    warned of what cannot be looked at any more.

    Args:
        run: a finished one.

    Raises:
        RunError: the preference data, an image that they name, a held-out set, the model, the adapter that training
            went on from, or a file or folder of a model that the settings name, has changed.
    """
    from mmpref.vlm.made_with import refuse_changed_adapter, refuse_changed_model

    manifest = run.manifest()
    tables = refuse_changed_tables(run.path, "The data set", manifest["datasets"])
    held_out = manifest.get("held_out") or {}
    of_splits = [{**facts, "split": with_split(spec, "train")[1]} for spec, facts in held_out.items()]
    refuse_changed_tables(run.path, "The held-out set", of_splits)
    places = [recipe.image_root or (table.images if table else None) for table in tables]
    refuse_changed_images(run.path, named_images(run), places)
    refuse_changed_adapter(run.path, recipe.adapter, manifest.get("began"))
    known = {"weights": manifest.get("model_weights"), "files": manifest.get("model_files")}
    refuse_changed_model(run.path, recipe.model, known)
    refuse_changed_files(run)
