"""What decides the bytes of a preference dataset: the recipe of ``build-dataset``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mmpref.recipe import schema as recipes


@dataclass(frozen=True)
class BuildRecipe:
    """Everything that decides the bytes of a dataset.

    Args:
        model: Hub id, folder, or ``pkg:<package>/<path>``; None for a method that uses no model.
        source: table name, file, folder or Hub dataset with supervised or preference rows, or several of these, one
            after another; None for the published set that the method is named after.
        method: name of a builder.
        revision: of the model.
        source_revision: of a Hub source.
        source_config: configuration of a Hub source.
        split: of the source, and of the dataset.
        image_root: folders, or ``.zip`` files, that image paths in rows are relative to.
        where: conditions ``FIELD OP VALUE`` that a row must fulfil (`mmpref.data.select`).
        subsample: draw so many of those rows, by the seed.
        exclude_images_of: tables (``NAME`` or ``NAME:SPLIT``) whose images no row may have, such as a benchmark's.
        limit: take only the first rows of the source, of each where there are several.
        keep_rejected: on a preference source, leave its answer in ``rejected`` and put the method's into
            ``rejected_policy``; ``similarity`` and ``iterations`` are the method's answer's.
        seed: of every random draw.
        block_size: rows that are worked on together; part of the recipe, because sums in floating point depend on
            what is batched together.
        dtype: of the model.
        quantization: ``4bit`` or ``8bit`` loading of the model, by bitsandbytes.
        device_map: of the model, such as ``auto`` to spread it over devices; by default it goes to one.
        trust_remote_code: run code that comes with the model.
        validation: hold out about this share of the rows as a second split, with images that no other row has.
        annotator: who ranks, rewrites or checks answers, for methods that ask (`mmpref.judges.resolve`).
        builder: settings of the method.
    """

    model: str | None
    source: tuple[str, ...] | str | None
    method: str = "bdhs"
    revision: str | None = None
    source_revision: str | None = None
    source_config: str | None = None
    split: str = "train"
    image_root: tuple[str, ...] = ()
    limit: int | None = None
    where: tuple[str, ...] = ()
    subsample: int | None = None
    exclude_images_of: tuple[str, ...] = ()
    keep_rejected: bool = False
    seed: int = 0
    block_size: int = 32
    dtype: recipes.Dtype = "auto"
    quantization: Literal["4bit", "8bit"] | None = None
    device_map: str | None = None
    trust_remote_code: bool = False
    validation: float | None = None
    annotator: str | None = None
    builder: dict[str, Any] = field(default_factory=dict)
