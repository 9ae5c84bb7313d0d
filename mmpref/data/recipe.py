"""What decides the bytes of a preference dataset: the recipe of ``build-dataset``, and its resolution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from mmpref.data.builder import BUILDERS, Builder
from mmpref.data.pool_size import BLOCK_SIZE
from mmpref.data.validation_split import VALIDATION
from mmpref.errors import UsageError
from mmpref.hub_ids import refuse_revision_alone
from mmpref.judges.resolve import endpoint_of
from mmpref.judges.served import chat_settings, refuse_loading, refuse_served
from mmpref.log import logger
from mmpref.recipes import schema as recipes
from mmpref.recipes.in_words import example
from mmpref.recipes.names import names
from mmpref.registry import Registry
from mmpref.sampling.settings import AUTO, SamplingSettings


@dataclass(frozen=True)
class BuildRecipe:
    """Everything that decides the bytes of a dataset.

    Args:
        model: Hub id, folder, or ``pkg:<package>/<path>``; ``URL#MODEL`` for one behind an OpenAI-compatible server,
            for methods that only have it write whole answers; None for a method that uses no model.
        source: table name, file, folder or Hub dataset with supervised or preference rows, or several of these, one
            after another; None for the published set that the method is named after.
        method: name of a builder; a former one becomes the present one.
        revision: of the model.
        source_revision: of a Hub source.
        source_config: configuration of a Hub source.
        split: of the source, and of the dataset.
        image_root: folders, or ``.zip`` files, that image paths in rows are relative to.
        columns: part of a row (``prompt``, ``answer``, ``image``, ...) -> the column that holds it, where its name is
            no known one (`mmpref.tables.columns`).
        default_prompt: asked of rows that have none, such as captions.
        adapter: what `mmpref.train` gave for this model: answers are written by the model with it on.
        adapter_revision: of the adapter, be it this or the method's own (``builder.adapter``).
        skip: pass over so many first rows of the source, of each where there are several; `limit` counts from there.
        where: conditions ``FIELD OP VALUE`` that a row must fulfil (`mmpref.data.select`).
        subsample: draw so many of those rows, by the seed.
        exclude_images_of: tables (``NAME`` or ``NAME:SPLIT``) whose images no row may have, such as a benchmark's.
        limit: take only the first rows of the source, of each where there are several.
        keep_rejected: on a preference source, leave its answer in ``rejected`` and put the method's into
            ``rejected_policy``; ``similarity`` and ``iterations`` are the method's answer's.
        seed: of every random draw.
        block_size: rows that are worked on together; part of the recipe, because sums in floating point depend on
            what is batched together. ``auto`` lets the memory of an accelerator decide when a run begins, and is 32
            on a CPU.
        dtype: of the model.
        quantization: ``4bit`` or ``8bit`` loading of the model, by bitsandbytes.
        device_map: of the model, such as ``auto`` to spread it over devices; by default it goes to one.
        trust_remote_code: run code that comes with the model.
        validation: hold out about this share of the rows as a second split, with images that no other row has.
        annotator: who ranks, rewrites or checks answers, for methods that ask (`mmpref.judges.resolve`).
        builder: settings of the method.
        strip_metadata: take what JPEG, PNG and WebP files carry beside their pixels (place, camera, thumbnails, texts)
            out of them, all but the orientation; no pixel is encoded anew.
    """

    model: str | None = field(metadata=names("model"))
    source: tuple[str, ...] | str | None = field(metadata=names("table"))
    method: str = "bdhs"
    revision: str | None = None
    source_revision: str | None = None
    source_config: str | None = None
    split: str = "train"
    image_root: tuple[str, ...] = field(default=(), metadata=names("roots"))
    limit: int | None = None
    where: tuple[str, ...] = ()
    subsample: int | None = None
    exclude_images_of: tuple[str, ...] = field(default=(), metadata=names("table"))
    keep_rejected: bool = False
    seed: int = 0
    block_size: int | Literal["auto"] = BLOCK_SIZE
    dtype: recipes.Dtype = "auto"
    quantization: Literal["4bit", "8bit"] | None = None
    device_map: str | None = None
    trust_remote_code: bool = False
    validation: float | None = None
    annotator: str | None = field(default=None, metadata=names("annotator"))
    builder: dict[str, Any] = field(default_factory=dict, metadata=example("{rho_th: 0.98}"))
    columns: dict[str, str] | None = field(
        default=None, metadata=recipes.OPTIONAL | example("{image: file, answer: caption}")
    )
    default_prompt: str | None = field(default=None, metadata=recipes.OPTIONAL)
    adapter: str | None = field(default=None, metadata=recipes.OPTIONAL | names("adapter"))
    adapter_revision: str | None = field(default=None, metadata=recipes.OPTIONAL)
    skip: int | None = field(default=None, metadata=recipes.OPTIONAL)
    strip_metadata: bool | None = field(default=None, metadata=recipes.OPTIONAL)
    registry: ClassVar[Registry[Builder]] = BUILDERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.registry.current_name(self.method))

    @property
    def endpoint(self) -> tuple[str, str] | None:
        """URL and name of a model behind a server.

        Raises:
            UsageError: one without its name.
        """
        return endpoint_of(self.model) if self.model else None


def refuse(recipe: BuildRecipe, builder: Builder) -> None:
    """Refuse a recipe that its method can do nothing with.

    Raises:
        UsageError: no model or source where the method needs one, or a setting that makes no sense with it.
    """
    if builder.uses_model and not recipe.model:
        raise UsageError(f"The method {recipe.method} needs a model.", "Give it with --model.")
    if not recipe.source and builder.origin is None:
        raise UsageError(f"The method {recipe.method} needs a source.", "Give it with --source.")
    if builder.needs_annotator and not (recipe.annotator or builder.default_annotator):
        raise UsageError(f"The method {recipe.method} asks an annotator.", "Name one with --annotator.")
    if builder.uses_model and recipe.model:
        _refuse_served(recipe, builder, recipe.model)
    if recipe.adapter:
        _refuse_adapter(recipe, builder)
    elif not _own_adapter(recipe, builder):
        refuse_revision_alone(recipe.adapter, recipe.adapter_revision)
    if builder.writes_chosen and recipe.keep_rejected:
        raise UsageError(
            f"The method {recipe.method} writes both answers: there are none of the source's to keep.",
            "Leave keep_rejected out.",
        )
    if not builder.uses_model and recipe.keep_rejected and not builder.written_columns:
        raise UsageError(
            f"The method {recipe.method} has no rejected answers but the source's own: keep_rejected "
            "is for methods that write theirs."
        )
    if recipe.validation is not None and not (0 < recipe.validation < 1 and recipe.split != VALIDATION):
        raise UsageError(
            f"validation is {recipe.validation} of the split {recipe.split!r}.",
            "It is a share between 0 and 1 of another split.",
        )
    for name, least in (("limit", 1), ("subsample", 1), ("block_size", 1), ("skip", 0)):
        if (value := getattr(recipe, name)) not in (None, AUTO) and value < least:
            raise UsageError(f"{name} is {value}; it must be at least {least}.")


def _refuse_adapter(recipe: BuildRecipe, builder: Builder) -> None:
    """Refuse an adapter where no model is loaded that it could be put on, or the method puts one on itself."""
    if recipe.endpoint:
        raise UsageError(
            f"{recipe.model} is behind a server, which puts adapters on by itself.", "Name the adapter as it is served."
        )
    if builder.uses_model and _own_adapter(recipe, builder):
        raise UsageError(f"The method {recipe.method} has the adapter builder.adapter.", "Leave --adapter out.")


def _own_adapter(recipe: BuildRecipe, builder: Builder) -> str | None:
    """The adapter that a setting of the method names."""
    return builder.adapter(recipes.build(builder.config(), recipe.builder, f"builder {recipe.method}"))


def _refuse_served(recipe: BuildRecipe, builder: Builder, model: str) -> None:
    """Refuse a model behind a server where the method needs the model itself, or settings that only that can have."""
    if not recipe.endpoint:
        return
    settings = recipes.build(builder.config(), recipe.builder, f"builder {recipe.method}")
    if why := builder.served(settings):
        refuse_served(model, why)
    refuse_loading(model, revision=recipe.revision, quantization=recipe.quantization, device_map=recipe.device_map)
    if isinstance(settings, SamplingSettings):
        chat_settings(settings.decoding(1, recipe.seed))


def resolved(recipe: BuildRecipe, builder: Builder) -> BuildRecipe:
    """The recipe in the one form that its hash is taken of.

    Raises:
        UsageError: as `refuse`.
    """
    refuse(recipe, builder)
    annotator = (recipe.annotator or builder.default_annotator) if builder.needs_annotator else None
    recipe = dataclasses.replace(recipe, annotator=annotator, skip=recipe.skip or None)
    if not builder.uses_model:
        if recipe.model:
            logger.warning("The method %s uses no model: %s is not loaded.", recipe.method, recipe.model)
        if recipe.adapter:
            logger.warning(
                "The method %s uses no model, and so no adapter: %s has no effect.", recipe.method, recipe.adapter
            )
        recipe = dataclasses.replace(recipe, model=None, revision=None, adapter=None, adapter_revision=None)
    source = recipe.source
    if isinstance(source, tuple) and len(source) < 2:
        source = source[0] if source else None
    return dataclasses.replace(recipe, source=source)


def section_for_method(section: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's section for another method than its own: what is meant for its own is left out.

    Args:
        section: the recipe's settings, as a file has them.
        values: the same, with what was chosen instead (such as ``method``) on top.
    """
    default_method = BuildRecipe.method
    section_method, method = (
        BUILDERS.current_name(chosen.get("method", default_method)) for chosen in (section, values)
    )
    adapted, builder = dict(section), BUILDERS.get(method)
    if method != section_method:
        known = {field.name for field in dataclasses.fields(builder.config())}
        adapted["builder"] = {key: value for key, value in (section.get("builder") or {}).items() if key in known}
    if not builder.uses_model:
        adapted["model"] = None
    # The recipe's source is for its own method, where the other has a published set or keeps a source's pairs.
    if builder.needs_pairs and (method != section_method or "source" not in section):
        adapted |= {"source": None, "limit": None}
    return adapted
