"""What a command's resolved recipe wants from outside: downloads of the Hub, files that must be there, endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.study.known_sets import KNOWN

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe

Kind = Literal["model", "dataset", "file", "endpoint"]


@dataclass(frozen=True, order=True)
class Requirement:
    """Something from outside.

    Args:
        kind: ``file`` is not fetched: it must be there, from the folder that the command is started in.
        name: Hub id, path, or ``URL#MODEL``.
    """

    kind: Kind
    name: str

    @property
    def gigabytes(self) -> float | None:
        """Of the download, in units of 10^9 bytes; None where it is not known here."""
        return KNOWN[self.name].gigabytes if self.kind == "dataset" and self.name in KNOWN else None


def of_build(recipe: BuildRecipe) -> set[Requirement]:
    """Of ``build-dataset``."""
    from mmpref.data.builder import BUILDERS

    builder = BUILDERS.get(recipe.method)
    sources = (recipe.source,) if isinstance(recipe.source, str) else recipe.source or ()
    if not sources and builder.origin is not None:
        sources = builder.origin.repos[:1]
    asked = [recipe.annotator or builder.default_annotator] if builder.needs_annotator else []
    return set(
        _told_apart(
            models=[recipe.model if builder.uses_model else None, *builder.models(_settings(recipe)).values(), *asked],
            tables=sources,
            files=recipe.image_root,
        )
    )


def of_train(recipe: TrainRecipe) -> set[Requirement]:
    """Of ``train``."""
    from mmpref.align.method import METHODS
    from mmpref.recipes.names import named
    from mmpref.recipes.schema import build
    from mmpref.tables.open import with_split

    settings = list(named(build(METHODS.get(recipe.method).settings, recipe.loss, "loss")))
    models = [
        name for one in settings if one.kind in ("model", "adapter", "embedder", "annotator") for name in one.values
    ]
    tables = [with_split(name, "train")[0] for one in settings if one.kind == "table" for name in one.values]
    return set(
        _told_apart(
            models=[recipe.model, recipe.annotator, *models],
            tables=[*recipe.dataset, *tables],
            files=recipe.image_root,
        )
    )


def of_evaluate(recipe: EvaluateRecipe) -> set[Requirement]:
    """Of ``evaluate``."""
    from mmpref.bench.benchmark import BENCHMARKS

    tables: list[str] = []
    files: list[str] = []
    judged = False
    for name in recipe.benchmarks:
        benchmark, settings = BENCHMARKS.get(name), recipe.benchmark.get(name) or {}
        if not benchmark.brings_data:
            tables += [settings.get("data") or benchmark.candidates[0]]
        files += [settings[key] for key in ("images", "synonyms") if settings.get(key)]
        judged |= benchmark.judged
    return set(_told_apart(models=[recipe.model, recipe.judge if judged else None], tables=tables, files=files))


def _settings(recipe: BuildRecipe) -> dict[str, Any]:
    """The method's settings, with defaults."""
    from mmpref.data.builder import BUILDERS
    from mmpref.recipes.schema import as_plain, build

    return as_plain(build(BUILDERS.get(recipe.method).config(), recipe.builder, f"builder {recipe.method}"))


def _told_apart(models: Iterable[str | None], tables: Iterable[str], files: Iterable[str]) -> Iterator[Requirement]:
    """What none of the installed packages has, and no step before makes."""
    from mmpref.judges.plugins import JUDGES
    from mmpref.local_paths import is_data_file
    from mmpref.tables.table import TABLES

    for name in filter(None, models):
        if name.startswith(("http://", "https://")):
            yield Requirement("endpoint", name)
        elif name not in JUDGES.names() and not _is_here(name) and name.count("/") == 1:
            yield Requirement("model", name)
    for name in tables:
        if name.startswith("hf://"):
            yield Requirement("dataset", name)
        elif is_data_file(name):
            yield Requirement("file", name)
        elif name not in TABLES.names() and not _is_here(name) and name.count("/") == 1:
            yield Requirement("dataset", name)
    for name in files:
        if not name.startswith("pkg:"):
            yield Requirement("file", name)


def _is_here(name: str) -> bool:
    return name.startswith(("pkg:", ".", "/")) or Path(name).exists()
