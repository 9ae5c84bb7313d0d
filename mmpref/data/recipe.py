"""What decides the bytes of a preference dataset: the recipe of ``build-dataset``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mmpref.recipes import schema as recipes


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


def fitted(section: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's section for the method that was asked for: what is meant for the recipe's own method is left out.

    Args:
        section: the recipe's settings.
        values: the same, with the command line's on top.
    """
    from mmpref.data.builder import BUILDERS
    from mmpref.data.recipe import BuildRecipe

    methods = {field.name: field.default for field in dataclasses.fields(BuildRecipe)}
    own, method = section.get("method", methods["method"]), values.get("method", methods["method"])
    fitting, builder = dict(section), BUILDERS.get(method)
    if method != own:
        known = {field.name for field in dataclasses.fields(builder.config())}
        fitting["builder"] = {key: value for key, value in (section.get("builder") or {}).items() if key in known}
    if not builder.uses_model:
        fitting["model"] = None
    # The recipe's source is for its own method, where the other has a published set or keeps a source's pairs.
    if builder.needs_pairs and (method != own or "source" not in section):
        fitting |= {"source": None, "limit": None}
    return fitting
